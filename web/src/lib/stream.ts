// Server-sent events over fetch: unlike EventSource it distinguishes a rejected request from a broken connection, and accepts events of any name.

import { asPerson } from './api'

export type StreamEvent = { id: string; name: string; data: string }
export type Ending = { kind: 'closed' | 'broken' | 'refused'; status: number; code?: string }

// heard is called whenever anything arrives, including comments.
export async function stream(url: string, signal: AbortSignal, lastID: string, emit: (e: StreamEvent) => void, heard?: () => void): Promise<Ending> {
  let response: Response
  try {
    const headers: Record<string, string> = { Accept: 'text/event-stream', ...asPerson() }
    if (lastID) headers['Last-Event-ID'] = lastID
    response = await fetch(url, { headers, signal, cache: 'no-store', credentials: 'same-origin' })
  } catch {
    return { kind: 'broken', status: 0 }
  }
  if (!response.ok || !response.body) return { kind: 'refused', status: response.status, code: ((await response.json().catch(() => ({}))) as { code?: string }).code ?? '' }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) return { kind: 'closed', status: 200 }
      heard?.()
      text += value.replaceAll('\r\n', '\n')
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const event = parse(text.slice(0, end))
        text = text.slice(end + 2)
        if (event) emit(event)
      }
    }
  } catch {
    return { kind: 'broken', status: 0 }
  }
}

function parse(block: string): StreamEvent | undefined {
  const event: StreamEvent = { id: '', name: 'message', data: '' }
  const data: string[] = []
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':')
    if (colon === 0) continue
    const field = colon < 0 ? line : line.slice(0, colon)
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'id') event.id = value
    else if (field === 'event') event.name = value
    else if (field === 'data') data.push(value)
  }
  if (!data.length) return undefined
  event.data = data.join('\n')
  return event
}
