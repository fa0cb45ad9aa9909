// Alerts: the actions that the reader chose, at the top until dismissed, and said at once.

import { $, el, lasted, name, put, show, timeOf } from "./dom.js"
import * as prefs from "./prefs.js"
import * as say from "./say.js"
import { display, eventLabels, events } from "./store.js"

const MOST = 20
const shown = new Map() // event id -> {root, state}
let chosen = new Set(prefs.get("alerts", []))
let changed = () => {}

export const isAlert = (label) => chosen.has(label)

/** `labels`: what the server was told; the reader's own choice goes before it. */
export function setUp(labels, onChange) {
  changed = onChange
  if (prefs.get("alerts") === undefined) chosen = new Set(labels)
  drawChoice()
}

/** An event that began, or went on when the page came to it. */
export function raise(event) {
  if (!chosen.has(event.label) || shown.has(event.id)) return false
  const state = el("span", { class: "note" })
  const root = el("li", {},
    el("p", {}, el("strong", {}, name(event.display)), " ", name(event.camera), ", ", timeOf(event.started_at), " ", state),
    el("button", { type: "button", "aria-label": `Dismiss: ${event.display}, ${event.camera}`, onclick: () => dismiss(event.id) }, "Dismiss"))
  shown.set(event.id, { root, state })
  $("alert-list").prepend(root)
  if (shown.size > MOST) dismiss(shown.keys().next().value, false)
  say.urgent(`Alert: ${event.display}, ${event.camera}`)
  draw()
  return true
}

export function draw() {
  for (const [id, { state }] of shown) {
    const event = events.get(id)
    if (event) put(state, event.phase === "end" ? `ended after ${lasted(event.ended_at - event.started_at)}` : "still going on")
  }
  show($("alerts"), shown.size > 0)
  show($("dismiss-all"), shown.size > 1)
  document.title = shown.size ? `(${shown.size}) alerts - streamer` : "streamer"
}

function dismiss(id, moveFocus = true) {
  const alert = shown.get(id)
  const next = alert.root.nextElementSibling ?? alert.root.previousElementSibling
  alert.root.remove()
  shown.delete(id)
  draw()
  if (moveFocus) (next?.querySelector("button") ?? $("main")).focus()
}

/** The labels to choose from: those that were events here, and those chosen. */
export function drawChoice() {
  const all = [...new Set([...eventLabels, ...chosen])].sort((a, b) => display(a).localeCompare(display(b)))
  const list = $("alert-labels")
  const key = JSON.stringify(all.map((label) => [label, display(label), chosen.has(label)]))
  if (list.dataset.key === key || list.contains(document.activeElement)) return
  list.dataset.key = key
  list.replaceChildren(...all.map((label) => el("li", {}, el("label", {},
    el("input", { type: "checkbox", checked: chosen.has(label), onchange: (event) => choose(label, event.target.checked) }),
    " ", name(display(label))))))
}

function choose(label, yes) {
  if (yes) chosen.add(label)
  else chosen.delete(label)
  prefs.set("alerts", [...chosen])
  changed()
}

$("dismiss-all").addEventListener("click", () => {
  for (const id of [...shown.keys()]) dismiss(id, false)
  $("main").focus()
})
$("alert-add").addEventListener("submit", (event) => {
  event.preventDefault()
  const label = $("alert-other").value.trim()
  if (!label) return
  $("alert-other").value = ""
  choose(label, true)
  drawChoice()
  say.now(`${label} is an alert now.`)
})
$("alert-add").querySelector("button").disabled = false // from now on it is heard
