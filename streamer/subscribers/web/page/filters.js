// What the timeline and the recent events show: which cameras, actions and people, how many minutes.

import { $, fillSelect, show } from "./dom.js"
import * as prefs from "./prefs.js"
import { cameras, display, eventLabels, newestFirst, now, person } from "./store.js"

const WHOLE = "whole" // events of whole pictures

const CHOICES = ["span", "camera", "action"]
const field = (choice) => $(choice === "span" ? "span" : `only-${choice}`)

/** Seconds that are shown. */
export const span = () => Number($("span").value)
export const camera = () => $("only-camera").value
export const action = () => $("only-action").value

/** Whose events: "" everybody's. It is not kept: a number is somebody else in another run. */
let chosenPerson = ""

const personOf = ({ camera, track }) => track ? JSON.stringify([camera, track.id]) : WHOLE

/** Whether an event is among what is wanted; those that mean "no action" are only where they are chosen. */
export function wants(event) {
  return (!camera() || event.camera === camera()) && (action() ? event.label === action() : !event.background)
    && (!chosenPerson || personOf(event) === chosenPerson) && inSpan(event)
}

const inSpan = (event) => (event.ended_at ?? now()) >= now() - span()

export const filtered = () => Boolean(camera() || action() || chosenPerson)

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
  drawPeople()
}

/** The people of the events that could be shown, the newest first; nothing to choose where nobody is followed. */
function drawPeople() {
  const some = newestFirst().filter((event) => event.track && inSpan(event) && (!camera() || event.camera === camera()))
  const people = new Map(some.map((event) => [personOf(event), called(event.camera, event.track)]))
  if (chosenPerson && chosenPerson !== WHOLE && !people.has(chosenPerson)) {
    const [name, id] = JSON.parse(chosenPerson)
    people.set(chosenPerson, called(name, { id })) // a choice stays on offer
  }
  const any = people.size > 0 || chosenPerson !== ""
  show($("only-person-row"), any)
  fillSelect($("only-person"), any ? [[WHOLE, "Whole picture"], ...people] : [], "Everybody")
  if ($("only-person") !== document.activeElement && $("only-person").value !== chosenPerson) $("only-person").value = chosenPerson
}

const called = (name, track) => cameras.size > 1 && !camera() ? `${person(track)}, ${name}` : person(track)

export function setUp(changed) {
  $("span").value = prefs.get("span", innerWidth < 600 ? "120" : "300")
  for (const choice of CHOICES) {
    field(choice).addEventListener("change", () => {
      prefs.set(choice === "span" ? "span" : `only-${choice}`, field(choice).value)
      if (choice === "camera") chosenPerson = ""
      changed()
    })
  }
  $("only-person").addEventListener("change", () => {
    chosenPerson = $("only-person").value
    changed()
  })
}
