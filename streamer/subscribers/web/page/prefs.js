// What the reader chose, kept in this browser; without storage, for as long as the page is open.

const KEY = "streamer"
let kept = {}

try {
  kept = JSON.parse(localStorage.getItem(KEY)) ?? {}
} catch { /* no storage, or not ours */ }

export const get = (key, otherwise) => kept[key] ?? otherwise

export function set(key, value) {
  kept[key] = value
  try {
    localStorage.setItem(KEY, JSON.stringify(kept))
  } catch { /* kept here only */ }
}
