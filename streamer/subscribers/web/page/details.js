// One event, whole: its facts, its pictures where there are any, and "this is wrong".

import { ask, keepAsking, seconds } from "./ask.js"
import { $, clock, el, lasted, name, percent, put, show } from "./dom.js"
import { cameras, events, features, labels, now, person } from "./store.js"
import * as why from "./why.js"

const NOTHING = "nothing", OTHER = "other", LABEL = "label:"
const AROUND = 5 // seconds of scores before and after an event
const RECENT = 120 // seconds of scores of a camera
const LEAD = 1 // seconds that a clip begins before its event
const CLIP_COMES = 120 // seconds after the last news of an event in which its clip may still come
const LOOK_AGAIN = 3 // seconds
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
  clearMedia()
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

/** What is kept of the event, and what comes to it while one looks: its clip is ready some seconds after it. */
async function fillMedia(event) {
  const wanted = () => current === event
  const failed = (text) => { if (!$("details-media").dataset.kinds) $("details-media").replaceChildren(el("p", { class: "note" }, `Whether there are pictures could not be asked: ${text}`)) }
  const query = new URLSearchParams({ camera: event.camera, event: event.id })
  while (wanted()) {
    const told = await keepAsking(`/recordings?${query}`, { wanted, failed })
    if (!told) return
    if ($("details-media").dataset.kinds !== told.kinds.join()) showMedia(event, told, query)
    why.offerLook(told.kinds.includes("clip"))
    if (told.kinds.includes("clip") || !mayCome(event)) return
    await seconds(LOOK_AGAIN)
  }
}

function showMedia(event, { kinds, from, to }, query) {
  const about = `${event.display}, ${event.camera}, ${clock(event.started_at)}`
  const picture = `/recording?${query}&kind=snapshot`
  const shown = []
  if (kinds.includes("clip")) {
    const clip = `/recording?${query}&kind=clip${from === null ? "" : `#t=${Math.max(0, from - LEAD).toFixed(2)}`}`
    shown.push(
      el("video", { src: clip, controls: true, preload: "metadata", "aria-label": `Clip: ${about}` }),
      el("p", {}, ...(from === null ? [] : [`The event is from ${inClip(from)} to ${inClip(to)} of the clip. `]),
        el("a", { href: clip, target: "_blank", rel: "noopener" }, "The clip by itself")))
  }
  if (kinds.includes("snapshot")) {
    shown.push(
      ...(kinds.includes("clip") ? [] : [el("img", { src: picture, alt: `Picture: ${about}` })]),
      el("p", {}, el("a", { href: picture, target: "_blank", rel: "noopener" }, "The picture at its peak")))
  }
  if (!kinds.includes("clip")) shown.push(el("p", { class: "note" }, missing(event, kinds)))
  $("details-media").dataset.kinds = kinds.join()
  $("details-media").replaceChildren(...shown)
}

/** Whether a clip may still be made of it. */
const mayCome = ({ id, sent_at: then }) => features.clips && now() - Math.max(then, events.get(id)?.sent_at ?? 0) <= CLIP_COMES

function missing(event, kinds) {
  if (mayCome(event)) return "Its clip is ready when the camera has been quiet for some seconds, or after a minute."
  return kinds.length ? "No clip is kept of it." : "No pictures are kept of this event."
}

/** 0:07, 1:12 */
const inClip = (at) => `${Math.floor(Math.round(at) / 60)}:${String(Math.round(at) % 60).padStart(2, "0")}`

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
    await ask("/mark", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ camera: event.camera, event: event.id, label }),
    })
    text = "Kept. Thank you."
  } catch (error) {
    text = `Not kept: ${error.message}.${error.again ? " Send it again." : ""}`
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
  clearMedia() // a clip that plays stops
})

function clearMedia() {
  $("details-media").replaceChildren()
  delete $("details-media").dataset.kinds
}
