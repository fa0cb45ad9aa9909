// Events as table rows: one way to show them, in the recent ones and in the history.

import { colour } from "./colours.js"
import { open } from "./details.js"
import { el, lasted, name, percent, put, show, timeOf } from "./dom.js"
import { features, now, person } from "./store.js"

function cell(label, ...content) {
  return el("td", { role: "cell", "data-label": label }, ...content)
}

/** The event's picture, small; it is there a moment after the event was decided, and better while it goes on. */
class Thumbnail {
  constructor(about) {
    this.image = el("img", { alt: "", onclick: () => about() })
    this.asked = ""
    this.again = 0
    this.image.addEventListener("load", () => { this.image.dataset.there = true })
    this.image.addEventListener("error", () => { this.again = now() + 3 })
  }

  update(event) {
    if (!features.recordings) return
    const state = `${event.phase === "end"}-${event.peak.toFixed(1)}`
    const failed = this.again > 0 && now() > this.again && now() - event.sent_at < 60
    if (this.asked === state && !failed) return
    this.asked = state
    this.again = 0
    const query = new URLSearchParams({ camera: event.camera, event: event.id, kind: "thumbnail", v: state })
    this.image.src = `/recording?${query}${failed ? `&n=${Math.round(now())}` : ""}`
  }
}

/** A row; `update(event)` fills in what changes. */
export function row(event) {
  let told = event
  const who = event.track ? person(event.track) : ""
  const about = [event.display, event.camera, who].filter(Boolean).join(", ")
  const time = cell("Lasted")
  const peak = cell("Peak score")
  const thumbnail = new Thumbnail(() => open(told, false))
  const wrong = el("button", { type: "button", "aria-label": `Mark as wrong: ${about}`, onclick: () => open(told, true) }, "Mark as wrong")
  const swatch = el("span", { class: "swatch", "aria-hidden": "true" })
  const root = el("tr", { role: "row" },
    el("td", { role: "cell", class: "thumbnail" }, thumbnail.image),
    cell("Started", timeOf(event.started_at)), cell("Camera", el("span", {}, name(event.camera), ...(who ? [", ", el("span", { class: "note" }, who)] : []))),
    el("th", { role: "rowheader", scope: "row", "data-label": "Action" }, swatch, " ", name(event.display)), time, peak,
    el("td", { role: "cell", class: "buttons" },
      el("button", { type: "button", "aria-label": `Details: ${about}`, onclick: () => open(told, false) }, "Details"),
      " ", wrong))
  function update(event, alert) {
    told = event
    swatch.dataset.colour = colour(event.label)
    root.dataset.open = event.phase !== "end"
    root.dataset.alert = alert
    put(time, event.phase === "end" ? lasted(event.ended_at - event.started_at) : `${lasted(now() - event.started_at)}, still going on`)
    put(peak, percent(event.peak))
    show(wrong, features.marks)
    thumbnail.update(event)
  }
  return { root, update }
}

/** Rows of a table, kept in the order of `list` without touching those that stay (focus lives in them). */
export class Rows {
  constructor(body) {
    this.body = body
    this.rows = new Map()
  }

  show(list, isAlert) {
    this.body.parentNode.dataset.pictures = features.recordings
    const wanted = new Set(list.map((event) => event.id))
    for (const [id, made] of this.rows) {
      if (!wanted.has(id) && !made.root.contains(document.activeElement)) {
        made.root.remove()
        this.rows.delete(id)
      }
    }
    let before = this.body.firstChild
    for (const event of list) {
      if (!this.rows.has(event.id)) this.rows.set(event.id, row(event))
      const made = this.rows.get(event.id)
      made.update(event, isAlert(event.label))
      if (made.root === before) before = before.nextSibling
      else this.body.insertBefore(made.root, before)
    }
  }
}
