// Asking the page's server: whatever goes wrong is told in words, and tried again where that may help.

const PAUSES = [1, 2, 4, 8] // seconds before the next attempts; the last one for all that follow
const LONGEST = 30 // seconds that an answer may take
const PASSING = new Set(["no_answer", "busy", "unavailable"]) // the server's codes for what may be over soon

export class AskError extends Error {
  /** `again`: whether another attempt may help. */
  constructor(message, again) {
    super(message)
    this.again = again
  }
}

/** The server's answer to one request; of a picture only that it is there. Throws AskError, whose message says what went wrong. */
export async function ask(path, { longest = LONGEST, ...options } = {}) {
  let answer, text
  try {
    answer = await fetch(path, { ...options, signal: AbortSignal.timeout(1000 * longest) })
    text = await answer.text()
  } catch (error) {
    const late = error.name === "TimeoutError"
    throw new AskError(late ? `no answer came within ${longest} seconds` : "the page's server does not answer", true)
  }
  if (answer.status === 401) throw new AskError("this browser is not logged in any more: load the page again", false)
  if (answer.ok && answer.headers.get("content-type")?.startsWith("image/")) return {}
  let told
  try {
    told = JSON.parse(text)
  } catch {
    throw new AskError(`the page's server failed (${answer.status})`, answer.status >= 500)
  }
  if (!answer.ok) throw new AskError(told.error, PASSING.has(told.code))
  return told
}

/** As `ask`, again and again where that may help, while `wanted()`; `failed(text)` hears of each failure.
 * undefined: it was refused, or is not wanted any more. */
export async function keepAsking(path, { wanted, failed, longest }) {
  for (let attempt = 0; wanted(); attempt += 1) {
    try {
      const told = await ask(path, { longest })
      return wanted() ? told : undefined
    } catch (error) {
      if (!(error instanceof AskError)) throw error
      if (!wanted()) return undefined
      failed(error.again ? `${error.message}. Trying again …` : `${error.message}.`)
      if (!error.again) return undefined
    }
    await seconds(PAUSES[Math.min(attempt, PAUSES.length - 1)])
  }
  return undefined
}

export const seconds = (count) => new Promise((done) => { setTimeout(done, 1000 * count) })
