// Searching the history: newest first, a page at a time.

import { keepAsking } from "./ask.js"
import { $, clock, fillSelect, put, show } from "./dom.js"
import { Rows } from "./events.js"
import { cameras, labels } from "./store.js"

const LONGEST = 90 // seconds for a search: the server asks the run many times for a long one
const rows = new Rows($("history-rows"))
const found = new Map()
let query = null
let next = null
let running = 0
let isAlert = () => false

const seconds = (value) => value ? String(new Date(value).getTime() / 1000) : ""

function fields() {
  const form = new FormData($("search"))
  const asked = { text: form.get("text"), camera: form.get("camera"), label: form.get("label"),
    since: seconds(form.get("since")), until: seconds(form.get("until")) }
  return Object.fromEntries(Object.entries(asked).filter(([, value]) => value))
}

async function search(older) {
  const mine = running += 1
  put($("search-result"), "Searching …")
  const asked = older ? { ...query, until: String(next) } : query
  const told = await keepAsking(`/history?${new URLSearchParams(asked)}`, {
    longest: LONGEST, wanted: () => mine === running, // until another search is begun
    failed: (text) => put($("search-result"), `The history could not be searched: ${text}`),
  })
  if (!told) return
  if (!older) found.clear()
  for (const event of told.events) {
    const known = found.get(event.id)
    if (!known || known.sent_at < event.sent_at) found.set(event.id, event)
    labels.set(event.label, event.display)
  }
  next = told.next
  draw()
  const back = next === null ? "That is all there is." : `Searched back to ${clock(next)}.`
  put($("search-result"), `${found.size} event${found.size === 1 ? "" : "s"} found. ${back}`)
}

function draw() {
  const list = [...found.values()].sort((a, b) => b.started_at - a.started_at || b.seq - a.seq)
  rows.show(list, isAlert)
  show($("history-table"), list.length > 0)
  show($("older"), next !== null)
}

/** Offer what is known by now. */
export function drawChoices() {
  const names = new Set([...cameras.keys(), ...[...found.values()].map((event) => event.camera)])
  fillSelect($("search-camera"), [...names].sort().map((camera) => [camera, camera]))
  fillSelect($("search-label"), [...labels].sort((a, b) => a[1].localeCompare(b[1])))
}

export function setUp(alertTest) {
  isAlert = alertTest
}

$("search").addEventListener("submit", (event) => {
  event.preventDefault()
  query = fields()
  search(false)
})
$("search").addEventListener("reset", () => {
  running += 1
  query = next = null
  found.clear()
  draw()
  put($("search-result"), "")
})
for (const button of $("search").querySelectorAll("button")) button.disabled = false // from now on they are heard
$("older").addEventListener("click", () => search(true))
