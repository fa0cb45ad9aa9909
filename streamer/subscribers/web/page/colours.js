// Each action has its own colour, in every part of the page, at each visit, and in the terminal: the server says which.

import { features } from "./store.js"

const HUES = 7 // the numbers below it are actions', as in streamer/labels/action_colours.py

/** Number of the action's colour: `data-colour` in colours.css. A label that the server does not know has one by its name. */
export const colour = (label) => Object.hasOwn(features.colours, label) ? features.colours[label] : crc32(label) % HUES

function crc32(text) {
  let sum = -1
  for (const byte of new TextEncoder().encode(text)) {
    sum ^= byte
    for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0)
  }
  return ~sum >>> 0
}
