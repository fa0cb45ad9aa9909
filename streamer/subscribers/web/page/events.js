// Events as table rows: one way to show them, in the recent ones and in the history.

import { el, lasted, name, percent, put, timeOf } from "./dom.js"
import { now } from "./store.js"
import { open } from "./details.js"

function cell(label, ...content) {
  return el("td", { role: "cell", "data-label": label }, ...content)
}

/** A row; `update(event)` fills in what changes. */
export function row(event) {
  let told = event
  const about = `${event.display}, ${event.camera}`
  const time = cell("Lasted")
  const peak = cell("Peak score")
  const root = el("tr", { role: "row" },
    cell("Started", timeOf(event.started_at)), cell("Camera", name(event.camera)),
    el("th", { role: "rowheader", scope: "row", "data-label": "Action" }, name(event.display)), time, peak,
    el("td", { role: "cell", class: "buttons" },
      el("button", { type: "button", "aria-label": `Details: ${about}`, onclick: () => open(told, false) }, "Details"),
      " ",
      el("button", { type: "button", "aria-label": `This is wrong: ${about}`, onclick: () => open(told, true) }, "This is wrong")))
  function update(event, alert) {
    told = event
    root.dataset.open = event.phase !== "end"
    root.dataset.alert = alert
    put(time, event.phase === "end" ? lasted(event.ended_at - event.started_at) : `${lasted(now() - event.started_at)}, goes on`)
    put(peak, percent(event.peak))
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
