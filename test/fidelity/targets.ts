/** Runs a scenario at one place and gives the transcripts of its clients, in the order in which they came. */
import { ScriptedClient } from './scripted-client.ts'
import type { Line } from './scripted-client.ts'
import type { Scenario } from './script.ts'
import type { Heard, Wire } from './wires.ts'

export type Place = {
  readonly name: string
  readonly connect: (heard: Heard) => Wire
  /** As in ClientOptions. */
  readonly prefix?: string
}

let runs = 0

export async function play(scenario: Scenario, place: Place): Promise<readonly Line[][]> {
  const clients: ScriptedClient[] = []
  let opened = 0
  runs += 1
  const run = `r${String(runs).padStart(5, '0')}`
  try {
    await scenario.run(async (options = {}) => {
      const { connect, prefix = '' } = place
      const at = opened
      opened += 1
      const client = await ScriptedClient.open({ connect, prefix, run, ...options })
      clients[at] = client
      return client
    })
    return clients.map((client) => client.transcript)
  } catch (cause) {
    const told = clients.map((client, at) =>
      client.transcript.map((line) => `client ${at}: ${textOf(line)}`).join('\n'),
    )
    throw new Error(`${place.name}: ${String(cause)}\n${told.join('\n')}`, { cause })
  } finally {
    await Promise.all(clients.map((client) => client.close()))
  }
}

function textOf({ stream, text }: Line): string {
  return `${stream}: ${text.slice(0, 1000)}`
}
