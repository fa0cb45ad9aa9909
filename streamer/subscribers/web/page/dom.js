// Small helpers. Text goes into the page as text only: nothing that a camera or a label is called can be markup.

export const $ = (id) => document.getElementById(id)

/** An element with properties (`class`, `data-…`, `aria-…` and others as attributes) and children (nodes or text). */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value)
    else made.setAttribute(name, value === true ? "" : value)
  }
  made.append(...children)
  return made
}

/** Change text only where it differs, so that screen readers and selections are left in peace. */
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text
}

export function show(node, yes) {
  if (node.hidden === yes) node.hidden = !yes
}

/** The choices of a select; left alone while somebody is choosing. `entries`: [value, text]. */
export function fillSelect(select, entries, all = "All") {
  const chosen = select.value
  const key = JSON.stringify(entries)
  if (select.dataset.key === key || document.activeElement === select) return
  select.dataset.key = key
  select.replaceChildren(el("option", { value: "" }, all), ...entries.map(([value, text]) => el("option", { value }, text)))
  select.value = chosen
}

/** A name that somebody chose, in whatever script: it keeps its own direction. */
export const name = (text) => el("bdi", {}, text)

const CLOCK = new Intl.DateTimeFormat([], { timeStyle: "medium" })
const SHORT = new Intl.DateTimeFormat([], { timeStyle: "short" })
const DAY = new Intl.DateTimeFormat([], { dateStyle: "medium" })
const PERCENT = new Intl.NumberFormat([], { style: "percent", maximumFractionDigits: 0 })

export const percent = (score) => PERCENT.format(score)
export const shortTime = (unix) => SHORT.format(unix * 1000)

/** 14:03:05, with the day where it is another one. */
export function clock(unix) {
  const at = new Date(unix * 1000)
  const today = at.toDateString() === new Date().toDateString()
  return today ? CLOCK.format(at) : `${DAY.format(at)}, ${CLOCK.format(at)}`
}

export function timeOf(unix) {
  const at = new Date(unix * 1000)
  return el("time", Number.isNaN(at.getTime()) ? {} : { datetime: at.toISOString() }, clock(unix))
}

/** 4.2 s, 3 min 20 s, 2 h 5 min */
export function lasted(seconds) {
  if (seconds < 0) seconds = 0
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 60) return `${Math.round(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`
}
