/**
 * `quorate node drain|leave|remove`: what an operator wants of a node. Each waits until it is done, says what has happened,
 * and what to run next.
 */
import type { Command } from 'commander'
import { OperatingError } from '../vocabulary/operating-error.ts'
import { AdminClient, fieldText, listOf, objectOf } from './client.ts'
import { talksToNode, withClient, type CommandContext, type NodeOptions } from './command.ts'
import type { ExitCode } from './exit-codes.ts'
import { pause } from './pause.ts'
import { printJson } from './printers.ts'
import { say } from './terminal.ts'

type DrainOptions = NodeOptions & { readonly cancel?: boolean; readonly wait?: boolean }
type RemoveOptions = NodeOptions & { readonly force?: boolean }
type Member = Readonly<Record<string, unknown>>

export function addNodeLife(node: Command, context: CommandContext): void {
  talksToNode(node.command('drain <id>').description('have a node take nothing new while what is in flight ends'))
    .option('--cancel', 'take it back: the node serves again')
    .option('--no-wait', 'do not wait until it is drained')
    .action((id: string, options: DrainOptions) => context.run(() => drain(context, id, options)))
  talksToNode(
    node
      .command('leave [id]')
      .description('have a node drain, leave the cluster and end; the node at --url when left out'),
  ).action((id: string | undefined, options: NodeOptions) => context.run(() => leave(context, id, options)))
  talksToNode(node.command('remove <id>').description('take a node out of the cluster that is gone for good'))
    .option('--force', 'though gossip calls it alive')
    .action((id: string, options: RemoveOptions) => context.run(() => remove(context, id, options)))
}

function drain(context: CommandContext, id: string, options: DrainOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const path = `/v1/nodes/${encodeURIComponent(id)}/drain`
    const isCancelled = options.cancel === true
    const { body } = await client.send(isCancelled ? { method: 'DELETE', path } : { method: 'POST', path, body: '{}' })
    const again = `${terminal.self} node drain ${id} --cancel`
    const isAwaited = options.wait !== false
    if (isCancelled) {
      const how = isAwaited ? await servesAgain(context, client, id) : `the drain of ${id} is taken back`
      return tell(context, { options, body, text: `${how}; next: ${terminal.self} node list` })
    }
    if (!isAwaited) return tell(context, { options, body, text: `${id} drains; to take that back: ${again}` })
    say(terminal, `${id} drains; waiting until nothing is in flight there`)
    const wish = new Wish({ id, what: 'drain', self: terminal.self })
    await until(context, client, (members) => {
      const member = members.find((each) => each['id'] === id)
      if (member === undefined || member['status'] === 'left')
        throw new OperatingError('change-refused', `${id} has stopped before it was drained`)
      wish.check(member)
      return member['draining'] === 'drained'
    })
    const text = `${id} is drained, and stays so when it is started again; next: stop or upgrade it, or ${again}`
    return tell(context, { options, body, text })
  })
}

/** As a sentence; a node that is down serves when it is started. */
async function servesAgain(context: CommandContext, client: AdminClient, id: string): Promise<string> {
  let how = `${id} serves again`
  await until(context, client, (members) => {
    const member = members.find((each) => each['id'] === id)
    if (member === undefined)
      throw new OperatingError('change-refused', `${id} has left; it was too late to take that back`)
    if (member['status'] === 'dead' || member['status'] === 'left') {
      how = `${id} is down, and serves when it is started again`
      return true
    }
    return member['draining'] === 'no'
  })
  return how
}

/** The node that leaves may be the one that is asked: then it is another that says whether it has left. */
function leave(context: CommandContext, given: string | undefined, options: NodeOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const asked = fieldText(objectOf(await client.get('/v1/status')), 'node')
    const id = given ?? asked
    const before = listOf(await client.get('/v1/members'), 'members')
    const { body } = await client.send({
      method: 'POST',
      path: `/v1/nodes/${encodeURIComponent(id)}/leave`,
      body: '{}',
    })
    say(terminal, `${id} drains, and leaves when nothing is in flight there`)
    const others = before.filter((each) => each['id'] !== id && each['status'] === 'alive')
    const witness = asked === id ? witnessOf(context, client, others) : client
    const wish = new Wish({ id, what: 'leave', self: terminal.self })
    try {
      await until(context, witness, (members) => {
        const member = members.find((each) => each['id'] === id)
        if (member !== undefined) wish.check(member)
        return member === undefined
      })
      const rest = await restOf(witness)
      const text = `${id} has left, and its process ends; ${rest}; next: ${terminal.self} node list --url ${witness.url}`
      tell(context, { options, body, text })
    } finally {
      if (witness !== client) await witness.close()
    }
  })
}

function witnessOf({ terminal }: CommandContext, client: AdminClient, others: readonly Member[]): AdminClient {
  const [http] = others.map((each) => fieldText(objectOf(each['addresses']), 'http')).filter((each) => each !== '-')
  if (http === undefined) return client
  return new AdminClient(`${new URL(client.url).protocol}//${http}`, terminal.interrupted)
}

function remove(context: CommandContext, id: string, options: RemoveOptions): Promise<ExitCode> {
  const { terminal } = context
  return withClient(context, options, async (client) => {
    const query = options.force === true ? '?force=true' : ''
    const { body } = await client.send({ method: 'DELETE', path: `/v1/nodes/${encodeURIComponent(id)}${query}` })
    await until(context, client, (members) => !members.some((each) => each['id'] === id))
    const rest = await restOf(client)
    tell(context, { options, body, text: `removed ${id}; ${rest}; next, to replace it: ${terminal.self} token create` })
  })
}

/** Who counts now, as a part of a sentence. */
async function restOf(client: AdminClient): Promise<string> {
  const { voters } = objectOf(await client.get('/v1/raft'))
  const ids = Array.isArray(voters) ? voters.map(String) : []
  return ids.length === 1 ? `${ids.join()} is the only voter now` : `the voters are ${ids.join(', ')} now`
}

/** What is wanted of a node, and waited for: it may die before, or be told to stay as it was. */
class Wish {
  readonly #of: { readonly id: string; readonly what: 'drain' | 'leave'; readonly self: string }
  #wasSeen = false

  constructor(of: { readonly id: string; readonly what: 'drain' | 'leave'; readonly self: string }) {
    this.#of = of
  }

  check(member: Member): void {
    const { id, what, self } = this.#of
    if (member['status'] === 'dead') {
      const way = `it did not end its ${what}; to take it out: ${self} node remove ${id}`
      throw new OperatingError('change-refused', `${id} is dead: ${way}`)
    }
    // Who is asked may not know of the wish yet.
    if (member['draining'] !== 'no') this.#wasSeen = true
    else if (this.#wasSeen)
      throw new OperatingError('change-refused', `${id} serves again: its ${what} was taken back meanwhile`)
  }
}

/** Looks at the members again and again; a node that does not answer now may the next time. */
async function until(
  { terminal }: CommandContext,
  client: AdminClient,
  isDone: (members: readonly Member[]) => boolean,
): Promise<void> {
  for (let failures = 0; ;) {
    try {
      if (isDone(listOf(await client.get('/v1/members'), 'members'))) return
      failures = 0
    } catch (error) {
      failures += 1
      const isSilent = error instanceof OperatingError && error.code === 'timeout'
      if (!isSilent || failures === failuresMax) throw error
    }
    await pause(terminal.interrupted, everyMs)
  }
}

const failuresMax = 10
const everyMs = 200

function tell(
  { terminal }: CommandContext,
  { options, body, text }: { readonly options: NodeOptions; readonly body: unknown; readonly text: string },
): void {
  if (options.json === true) printJson(terminal, body)
  else say(terminal, text)
}
