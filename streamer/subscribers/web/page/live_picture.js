// A camera's live picture: the newest one at a time, who is where in it, and its age as soon as it is not live.

import { colour } from "./colours.js"
import { clock, el, lasted, put, show } from "./dom.js"
import { hasPicture, isLost, now } from "./store.js"

const LATE = 3 // seconds after which a picture is not called live

export class LivePicture {
  constructor(camera) {
    this.camera = camera
    this.image = el("img", { class: "picture", alt: `Live picture of ${camera}` })
    this.boxes = el("div", { class: "boxes", "aria-hidden": "true" })
    this.age = el("p", { class: "age" })
    this.root = el("div", { class: "live", hidden: true }, this.image, this.boxes, this.age)
    this.wanted = null // the number that is being fetched
    this.shown = null
    this.at = 0 // when the picture that is shown was taken in, by the server's clock
    this.coming = [] // who is in the picture that is being fetched
    this.tracks = [] // who is in the one that is shown
    this.image.addEventListener("load", () => {
      Object.assign(this, { shown: this.wanted, wanted: null, tracks: this.coming })
      this.root.hidden = false
      if (this.known) this.drawBoxes()
    })
    this.image.addEventListener("error", () => { this.wanted = null })
  }

  /** `on`: the reader wants pictures; `live`: news come. */
  draw(known, on, live) {
    this.known = known
    if (!on) {
      this.shown = null
      show(this.root, false)
      return
    }
    if (live && hasPicture(known)) this.fetch(known)
    if (this.shown === null) return
    const late = now() - this.at
    const old = !live || isLost(known) || late > LATE
    this.root.dataset.old = old
    put(this.age, old ? `Picture from ${clock(this.at)}, ${lasted(late)} ago` : "")
    this.drawBoxes()
  }

  fetch(known) {
    if (this.wanted !== null || this.shown === known.preview) return // one at a time: a slow line gets fewer
    this.wanted = known.preview
    this.at = known.previewAt
    this.coming = known.previewTracks
    this.image.src = `/preview?camera=${encodeURIComponent(this.camera)}&n=${known.preview}`
  }

  /** Where people are in the very picture that is shown, with what is believed of them. */
  drawBoxes() {
    const tracks = this.root.dataset.old === "true" ? [] : this.tracks
    while (this.boxes.children.length > tracks.length) this.boxes.lastChild.remove()
    while (this.boxes.children.length < tracks.length) this.boxes.append(el("div", { class: "box" }, el("bdi")))
    const told = [...this.known.predictions.values()].filter(({ sent_at }) => now() - sent_at < LATE)
    tracks.forEach(({ id, box: place }, index) => {
      const box = this.boxes.children[index]
      const [left, top, width, height] = place.map((part) => `${100 * part}%`)
      Object.assign(box.style, { left, top, width, height })
      box.dataset.side = place[0] + place[2] / 2 > 0.5 ? "right" : "left" // its text grows into the picture
      const stable = told.find(({ track }) => track?.id === id)?.stable
      put(box.firstChild, [String(id), stable?.display].filter(Boolean).join(" "))
      if (stable) box.dataset.colour = colour(stable.label)
      else delete box.dataset.colour
    })
  }
}
