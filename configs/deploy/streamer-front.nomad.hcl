# A cluster on Nomad: one front, and a worker on each client. docs/cluster.md says what to do first; the keys and
# cameras.yaml lie in /etc/streamer of the clients, the keys readable by user 10001 alone.
# Check it with: nomad job validate -var front=HOST streamer-front.nomad.hcl
variable "image" {
  type    = string
  default = "streamer:latest" # of configs/deploy/Dockerfile.cpu
}

variable "front" {
  type        = string
  description = "the address of the client that the front runs on"
}

job "streamer-front" {
  type = "service"

  constraint {
    attribute = "${attr.unique.network.ip-address}"
    value     = var.front
  }

  group "front" {
    restart {
      mode  = "delay"
      delay = "2s"
    }

    network {
      mode = "host"
    }

    task "front" {
      driver = "docker"
      config {
        image        = var.image
        network_mode = "host"
        args         = ["cluster", "/etc/streamer/cameras.yaml", "--bind", "tcp://0.0.0.0:5555", "--keys", "/etc/streamer/keys", "--ui", "none"]
        volumes      = ["/etc/streamer:/etc/streamer:ro", "/var/lib/streamer:/data"]
      }
      resources {
        cpu    = 500
        memory = 1024
      }
    }
  }
}
