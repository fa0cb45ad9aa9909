// One event, whole: its facts, its pictures where there are any, and "this is wrong".

import { $, clock, el, lasted, name, percent, put, show } from "./dom.js"
import { cameras, features, labels, now, person } from "./store.js"
import * as why from "./why.js"

const NOTHING = "nothing", OTHER = "other", LABEL = "label:"
const AROUND = 5 // seconds of scores before and after an event
const RECENT = 120 // seconds of scores of a camera
let current = null

/** Open the dialog for a camera: nothing was an event, and the question is why not. */
export function openCamera(camera) {
  current = null
  put($("details-title"), `Scores of ${camera}`)
  begin(false)
  const people = peopleOf(camera)
  why.ask({ camera, since: now() - RECENT, until: now(), label: null, people, track: people[0]?.[0] ?? null })
}

/** Of whom a camera's models speak now: [track, text], the whole picture first. */
function peopleOf(camera) {
  const ids = new Set([...(cameras.get(camera)?.predictions.values() ?? [])].map(({ track }) => track?.id ?? null))
  return [...ids].sort((a, b) => (a ?? 0) - (b ?? 0)).map((id) => [id, id === null ? "The whole picture" : person({ id })])
}

function begin(event) {
  for (const id of ["details-facts", "details-media"]) show($(id), Boolean(event))
  show($("mark"), Boolean(event) && features.marks)
  $("details-media").replaceChildren()
  $("details-title").dir = "auto"
  $("details").showModal()
  $("details-title").focus()
}

/** Open the dialog; `wrong`: begin at the correction. */
export function open(event, wrong) {
  current = event
  put($("details-title"), `${event.display}, ${event.camera}`)
  $("details-facts").replaceChildren(...facts(event).flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]))
  fillLabels(event)
  put($("mark-result"), "")
  begin(true)
  if (features.recordings) fillMedia(event)
  const { camera, model, label } = event
  why.ask({ camera, model, label, event, track: event.track?.id ?? null, since: event.started_at - AROUND, until: (event.ended_at ?? now()) + AROUND })
  if (wrong) $("mark-label").focus()
}

function facts(event) {
  const found = [
    ["Camera", name(event.camera)], ["Action", name(event.display)],
    ["Started", clock(event.started_at)],
    ["Ended", event.phase === "end" ? `${clock(event.ended_at)}, after ${lasted(event.ended_at - event.started_at)}` : "still going on"],
    ["Peak score", percent(event.peak)],
  ]
  if (event.track) found.push(["Person", String(event.track.id)])
  if (event.display !== event.label) found.push(["Label", name(event.label)])
  if (event.reason) found.push(["Ended because", name(event.reason)])
  found.push(["Number", `${event.id} (message ${event.seq})`])
  return found
}

function fillLabels(event) {
  const known = [...labels].filter(([label]) => label !== event.label).sort((a, b) => a[1].localeCompare(b[1]))
  $("mark-label").replaceChildren(
    el("option", { value: NOTHING }, "Nothing happened"),
    ...known.map(([label, display]) => el("option", { value: LABEL + label }, display)),
    el("option", { value: OTHER }, "Something else …"))
  show($("mark-other-row"), false)
}

async function fillMedia(event) {
  const query = `camera=${encodeURIComponent(event.camera)}&event=${encodeURIComponent(event.id)}`
  try {
    const { kinds } = await (await fetch(`/recordings?${query}`)).json()
    if (current !== event) return
    const about = `${event.display}, ${event.camera}, ${clock(event.started_at)}`
    why.offerLook(kinds.includes("clip") && event.phase === "end")
    if (kinds.includes("clip")) {
      $("details-media").append(
        el("video", { src: `/recording?${query}&kind=clip`, controls: true, preload: "metadata", "aria-label": `Clip: ${about}` }),
        el("p", {}, el("a", { href: `/recording?${query}&kind=clip`, target: "_blank", rel: "noopener" }, "The clip by itself")))
    }
    if (kinds.includes("snapshot")) {
      const address = `/recording?${query}&kind=snapshot`
      $("details-media").append(
        ...(kinds.includes("clip") ? [] : [el("img", { src: address, alt: `Picture: ${about}` })]),
        el("p", {}, el("a", { href: address, target: "_blank", rel: "noopener" }, "The picture at its peak")))
    }
    if (!kinds.length) $("details-media").append(el("p", { class: "note" }, "No pictures are kept of this event (a clip is ready when the camera has been quiet for some seconds, or after a minute)."))
  } catch {
    if (current === event) $("details-media").append(el("p", { class: "note" }, "Whether there are pictures could not be asked."))
  }
}

async function send() {
  const event = current
  const choice = $("mark-label").value
  const other = $("mark-other").value.trim()
  if (choice === OTHER && !other) {
    put($("mark-result"), "Write what it was.")
    $("mark-other").focus()
    return
  }
  const label = choice === NOTHING ? null : choice === OTHER ? other : choice.slice(LABEL.length)
  put($("mark-result"), "Sending …")
  let text
  try {
    const answer = await fetch("/mark", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ camera: event.camera, event: event.id, label }),
    })
    const told = await answer.json()
    text = answer.ok ? "Kept. Thank you." : `Not kept: ${told.error}.`
  } catch {
    text = "Not sent: the page's server does not answer."
  }
  if (current === event) put($("mark-result"), text)
}

$("mark").addEventListener("submit", (event) => {
  event.preventDefault()
  send()
})
$("mark-label").addEventListener("change", () => show($("mark-other-row"), $("mark-label").value === OTHER))
$("details-close").addEventListener("click", () => $("details").close())
$("details").addEventListener("close", () => {
  current = null
  why.close()
  $("details-media").replaceChildren() // a clip that plays stops
})
