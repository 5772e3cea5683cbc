import type { JsonText } from '../std/json-text.ts'
import type { NodeId, SessionId } from '../vocabulary/ids.ts'
import type { ClientWord, ClientWords } from './call.ts'
import { nodeOfQuestion } from './question-ids.ts'

/** What clients of this node say goes to the node that it concerns: a question's own, or every node when none is known. */
export class RoutedWords implements ClientWords {
  readonly #options: RoutedWordsOptions

  constructor(options: RoutedWordsOptions) {
    this.#options = options
  }

  say(session: SessionId, word: ClientWord): void {
    const { self, here, links } = this.#options
    if (word.kind === 'cancel' || word.kind === 'notification') {
      here.say(session, word)
      for (const node of links.nodes()) links.say(node, session, word)
      return
    }
    const node = nodeOfQuestion(word.question)
    if (node === self) here.say(session, word)
    else if (node !== undefined) links.say(node, session, word)
  }
}

export type RoutedWordsOptions = {
  readonly self: NodeId
  /** What is said to this node. */
  readonly here: ClientWords
  readonly links: WordLinks
}

/** The other nodes. */
export type WordLinks = {
  /** To which there is a link now. */
  nodes(): Iterable<NodeId>
  say(node: NodeId, session: SessionId, word: ClientWord): void
}

/** What clients of any node say to this one: a cancellation ends the calls that it means, the rest is for the upstreams. */
export class WordsHere implements ClientWords {
  readonly #options: WordsHereOptions

  constructor(options: WordsHereOptions) {
    this.#options = options
  }

  say(session: SessionId, word: ClientWord): void {
    if (word.kind !== 'cancel') return this.#options.upstreams.say(session, word)
    for (const calls of this.#options.calls) calls.cancelRequest(session, word.requestId, word.params)
  }
}

export type WordsHereOptions = {
  /** Those that this node performs, and those that it has others perform. */
  readonly calls: readonly CancellableCalls[]
  readonly upstreams: ClientWords
}

export type CancellableCalls = {
  cancelRequest(session: SessionId, requestId: JsonText, params: JsonText): void
}
