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
let current = null // the event that is shown, as it stands now
let opened = 0 // counts openings and closings
let mediaFor = 0 // the opening for which pictures were asked for

/** Open the dialog for a camera: nothing was an event, and the question is why not. */
export function openCamera(camera) {
  current = null
  opened += 1
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
  show($("mark"), false)
  clearMedia()
  $("details-title").dir = "auto"
  $("details").showModal()
  $("details-title").focus()
}

/** Open the dialog; `wrong`: begin at the correction. */
export function open(event, wrong) {
  current = event
  opened += 1
  showFacts(event)
  put($("details-title"), `${event.display}, ${event.camera}`)
  fillLabels(event)
  put($("mark-result"), "")
  begin(true)
  offer()
  const { camera, model, label } = event
  why.ask({ camera, model, label, event, track: event.track?.id ?? null, since: event.started_at - AROUND, until: endOf(event) })
  if (wrong) $("mark-label").focus()
}

/** The event that is shown goes on: so does what is told of it. What has the focus stays, and where one has scrolled to. */
export function draw() {
  if (!current) return
  const told = events.get(current.id)
  if (told && told.sent_at >= current.sent_at) current = told
  showFacts(current)
  offer()
  why.follow(current, endOf(current))
}

/** What the run offers: the page may come to know it only after the dialog was opened. */
function offer() {
  show($("mark"), features.marks)
  if (!features.recordings || mediaFor === opened) return
  mediaFor = opened
  fillMedia(opened)
}

/** Until when its scores are wanted, Unix seconds. */
const endOf = (event) => (event.ended_at ?? now()) + AROUND

function showFacts(event) {
  const list = $("details-facts")
  const wanted = facts(event).flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)])
  wanted.forEach((node, index) => {
    const shown = list.children[index]
    if (!shown) list.append(node)
    else if (shown.textContent !== node.textContent) shown.replaceWith(node)
  })
  while (list.children.length > wanted.length) list.lastChild.remove()
}

function facts(event) {
  const found = [
    ["Camera", name(event.camera)], ["Action", name(event.display)],
    ["Started", clock(event.started_at)],
    ["Ended", event.phase === "end" ? `${clock(event.ended_at)}, after ${lasted(event.ended_at - event.started_at)}` : `still going on, ${lasted(now() - event.started_at)} so far`],
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
async function fillMedia(mine) {
  const wanted = () => mine === opened
  const query = new URLSearchParams({ camera: current.camera, event: current.id })
  const failed = (text) => { if (!$("details-media").dataset.kinds) note(`Whether there are pictures could not be asked: ${text}`) }
  while (wanted()) {
    const told = await keepAsking(`/recordings?${query}`, { wanted, failed })
    if (!told) return
    const clip = told.kinds.includes("clip")
    showMedia(current, told, query)
    why.offerLook(clip)
    if (clip || !mayCome(current)) return
    await seconds(LOOK_AGAIN)
  }
}

/** Elements that are there stay there: the focus may be in them. */
function showMedia(event, { kinds, from, to }, query) {
  const about = `${event.display}, ${event.camera}, ${clock(event.started_at)}`
  const clip = kinds.includes("clip"), picture = kinds.includes("snapshot")
  $("details-media").dataset.kinds = kinds.join()
  if (clip) {
    const address = `/recording?${query}&kind=clip${from === null ? "" : `#t=${Math.max(0, from - LEAD).toFixed(2)}`}`
    set($("clip"), { src: address, "aria-label": `Clip: ${about}` })
    set($("clip-link"), { href: address })
    put($("clip-place"), from === null ? "" : `The event is from ${inClip(from)} to ${inClip(to)} of the clip. `)
  }
  if (picture) {
    const address = `/recording?${query}&kind=snapshot&v=${event.phase === "end"}-${event.peak.toFixed(1)}` // better ones come while it goes on
    set($("picture"), { src: address, alt: `Picture: ${about}` })
    set($("picture-link"), { href: address })
  }
  show($("clip"), clip)
  show($("clip-row"), clip)
  show($("picture"), picture && !clip)
  show($("picture-row"), picture)
  note(clip ? "" : missing(event, kinds))
}

function set(node, properties) {
  for (const [name, value] of Object.entries(properties)) if (node.getAttribute(name) !== value) node.setAttribute(name, value)
}

function note(text) {
  put($("media-note"), text)
  show($("media-note"), Boolean(text))
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
  const event = current, mine = opened
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
  if (mine === opened) put($("mark-result"), text)
}

$("mark").addEventListener("submit", (event) => {
  event.preventDefault()
  send()
})
$("mark-label").addEventListener("change", () => show($("mark-other-row"), $("mark-label").value === OTHER))
$("details-close").addEventListener("click", () => $("details").close())
$("details").addEventListener("close", () => {
  current = null
  opened += 1
  why.close()
  clearMedia() // a clip that plays stops
})

function clearMedia() {
  for (const id of ["clip", "picture"]) $(id).removeAttribute("src")
  $("clip").load() // without a source: it lets go of the old one
  for (const part of $("details-media").children) show(part, false)
  delete $("details-media").dataset.kinds
}
