import type { AnswerRecord } from './answers.ts'
import type { CommandResult, JoinToken, Member, Replica, SessionRecord } from './command.ts'
import { drainFields, memberFields, replicaFields, tokenFields } from './fields.ts'
import type { DrainRecord } from './fields.ts'
import type { KvEntry } from './reader.ts'
import type { SequenceValue } from '../std/hash.ts'
import { sessionFields } from './session-fields.ts'

/**
 * What the state consists of: records of seven kinds, each as a list of plain values. Snapshots hold these lists, and the
 * state's digest is made of them: equal records have equal lists, and each says all of its record.
 */
export type StateRecords = {
  readonly kv: KvEntry
  readonly member: Member
  readonly replica: Replica
  readonly answer: AnswerRecord
  readonly token: JoinToken
  readonly drain: DrainRecord
  readonly session: SessionRecord
}

export type RecordKind = keyof StateRecords
export const recordKinds = [
  'kv',
  'member',
  'replica',
  'answer',
  'token',
  'drain',
  'session',
] as const satisfies readonly RecordKind[]

export function fieldsOf<Kind extends RecordKind>(kind: Kind, record: StateRecords[Kind]): SequenceValue[] {
  return fieldsByKind[kind](record)
}

const fieldsByKind: { readonly [Kind in RecordKind]: (record: StateRecords[Kind]) => SequenceValue[] } = {
  kv: ({ key, value, revision }) => [key, value, revision],
  member: memberFields,
  replica: replicaFields,
  answer: ({ key, fingerprint, time, result }) => [key, fingerprint, time, ...resultFields(result)],
  token: tokenFields,
  drain: drainFields,
  session: sessionFields,
}

/** Numbers on the disk; never used again for another meaning. */
export const resultKinds = ['done', 'revision-mismatch', 'not-found', 'refused'] as const

function resultFields(result: CommandResult): SequenceValue[] {
  const kind = resultKinds.indexOf(result.kind)
  if (result.kind === 'not-found') return [kind]
  return [kind, result.kind === 'refused' ? result.reason : result.revision]
}
