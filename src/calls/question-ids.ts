import { randomBytes } from 'node:crypto'
import { isNodeId, type NodeId, type QuestionId } from '../vocabulary/ids.ts'

/**
 * Ids of the questions that servers on this node ask clients. They name the node, so that an answer finds its way from
 * wherever it is given, and nobody can guess one: whoever answers has been asked.
 */
export function makeQuestionIds(node: NodeId, generation: number): () => QuestionId {
  let counter = 0
  return () => {
    counter += 1
    return `q.${node}.${generation}.${counter}.${randomBytes(randomBytesLength).toString('base64url')}` as QuestionId
  }
}

/** Undefined: no id of a question. */
export function nodeOfQuestion(id: string): NodeId | undefined {
  const node = questionPattern.exec(id)?.[1]
  return node !== undefined && isNodeId(node) ? node : undefined
}

const randomBytesLength = 12
/** A node's id may have dots in it, what follows it has none. */
const questionPattern = /^q\.([^\s]{1,64})\.\d{1,16}\.\d{1,16}\.[\w-]{16}$/
