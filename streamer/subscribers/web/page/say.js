// What is said to screen readers (and shown in one quiet line): changes, a few at a time, never a flood.

import { $, clock, lasted, put } from "./dom.js"

const PAUSE = 6000 // milliseconds between two sentences
const MOST = 3 // changes in one sentence

const waiting = new Map() // what it is about -> text; a later change replaces an earlier one
let timer = null
let last = -Infinity
let enabled = true

export function enable(yes) {
  enabled = yes
  $("latest").setAttribute("aria-live", yes ? "polite" : "off")
}

/** A change that can wait its turn. */
export function change(about, text) {
  waiting.delete(about)
  waiting.set(about, text)
  timer ??= setTimeout(flush, Math.max(300, last + PAUSE - performance.now()))
}

/** One sentence about the connection: said soon, before changes that wait. */
export function now(text) {
  put($("latest"), text)
  last = performance.now()
}

/** An alert: said at once, interrupting. */
export function urgent(text) {
  put($("urgent"), "")
  requestAnimationFrame(() => put($("urgent"), text))
}

function flush() {
  timer = null
  last = performance.now()
  const all = [...waiting.values()]
  waiting.clear()
  const left = all.length - MOST
  const more = left > 0 ? `, and ${left} more change${left > 1 ? "s" : ""}` : ""
  put($("latest"), `${clock(Date.now() / 1000)}: ${all.slice(-MOST).join("; ")}${more}.`)
}

/** "front-door: waving started", or ended after so long. */
export function sentence(event) {
  const what = event.phase === "end" ? `ended after ${lasted(event.ended_at - event.started_at)}` : "started"
  return `${event.camera}: ${event.display} ${what}`
}

export const isEnabled = () => enabled
