import { expect } from 'vitest'

/** Plain requests to a node's admin API, as an operator's script makes them. */
export type Answer = { readonly status: number; readonly headers: Headers; readonly body: Record<string, unknown> }

export async function request(url: string, init: RequestInit = {}): Promise<Answer> {
  const response = await fetch(url, { signal: AbortSignal.timeout(30_000), ...init })
  const text = await response.text()
  return {
    status: response.status,
    headers: response.headers,
    body: text === '' ? {} : (JSON.parse(text) as Record<string, unknown>),
  }
}

export async function getJson(url: string): Promise<Record<string, unknown>> {
  const answer = await request(url)
  expect(answer.status, JSON.stringify(answer.body)).toBe(200)
  return answer.body
}

export function errorCode(answer: Answer): string {
  return String((answer.body['error'] as Record<string, unknown> | undefined)?.['code'])
}

/**
 * A write that is tried until it is acknowledged: only after answers that say it never entered a log. Anything else is
 * the caller's to judge.
 */
export async function putUntilDone(url: string, value: unknown, deadlineMs = 15_000): Promise<Answer> {
  const deadline = performance.now() + deadlineMs
  for (;;) {
    const answer = await request(url, { method: 'PUT', body: JSON.stringify(value) })
    if (answer.status !== 503 || performance.now() > deadline) return answer
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
