// What the timeline and the recent events show: which cameras, which actions, how many minutes.

import { $, fillSelect } from "./dom.js"
import * as prefs from "./prefs.js"
import { cameras, display, eventLabels, now } from "./store.js"

const CHOICES = ["span", "camera", "action"]
const field = (choice) => $(choice === "span" ? "span" : `only-${choice}`)

/** Seconds that are shown. */
export const span = () => Number($("span").value)
export const camera = () => $("only-camera").value
export const action = () => $("only-action").value

/** Whether an event is among what is wanted; those that mean "no action" are only where they are chosen. */
export function wants(event) {
  return (!camera() || event.camera === camera()) && (action() ? event.label === action() : !event.background)
    && (event.ended_at ?? now()) >= now() - span()
}

export const filtered = () => Boolean(camera() || action())

/** Offer what is known by now; a choice that was made before stays on offer. */
export function draw() {
  const kept = (choice, known) => new Set([...known, prefs.get(`only-${choice}`, "")].filter(Boolean))
  fillSelect($("only-camera"), [...kept("camera", cameras.keys())].sort().map((name) => [name, name]), "All cameras")
  const labels = [...kept("action", eventLabels)].map((label) => [label, display(label)])
  fillSelect($("only-action"), labels.sort((a, b) => a[1].localeCompare(b[1])), "All actions")
  for (const choice of ["camera", "action"]) {
    const wanted = prefs.get(`only-${choice}`, "")
    if (field(choice) !== document.activeElement && field(choice).value !== wanted) field(choice).value = wanted
  }
}

export function setUp(changed) {
  $("span").value = prefs.get("span", innerWidth < 600 ? "120" : "300")
  for (const choice of CHOICES) {
    field(choice).addEventListener("change", () => {
      prefs.set(choice === "span" ? "span" : `only-${choice}`, field(choice).value)
      changed()
    })
  }
}
