# The workers of a cluster on Nomad: one on each client. The front: streamer-front.nomad.hcl.
# Check it with: nomad job validate -var front=HOST streamer-worker.nomad.hcl
variable "image" {
  type    = string
  default = "streamer:latest" # of configs/deploy/Dockerfile.cpu, or .cuda
}

variable "front" {
  type        = string
  description = "the address of the client that the front runs on"
}

job "streamer-worker" {
  type = "system"

  group "worker" {
    restart {
      mode  = "delay"
      delay = "2s"
    }

    network {
      mode = "host"
    }

    task "worker" {
      driver       = "docker"
      kill_timeout = "10s"
      config {
        image        = var.image
        network_mode = "host"
        args         = ["worker", "--join", "tcp://${var.front}:5556", "--keys", "/etc/streamer/keys", "--name", "${node.unique.name}", "--metrics", "127.0.0.1:9464"]
        volumes      = ["/etc/streamer:/etc/streamer:ro", "/var/lib/streamer-worker:/data"]
      }
      resources {
        cpu    = 4000
        memory = 4096
      }
    }
  }
}
