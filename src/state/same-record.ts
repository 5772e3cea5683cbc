import type { Offer } from '../vocabulary/offer.ts'
import type { Member, Replica } from './command.ts'

/** Whether what is published says the same as what is known: then nothing of the state changes. */
export function sameMember(a: Member, b: Member): boolean {
  return (
    a.generation === b.generation &&
    a.version === b.version &&
    a.startedAt === b.startedAt &&
    a.addresses.http === b.addresses.http &&
    a.addresses.peer === b.addresses.peer &&
    a.addresses.raft === b.addresses.raft &&
    sameLabels(a.labels, b.labels)
  )
}

function sameLabels(a: Member['labels'], b: Member['labels']): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
}

export function sameReplica(a: Replica, b: Replica): boolean {
  return (
    a.generation === b.generation &&
    a.transport === b.transport &&
    a.status === b.status &&
    a.reason === b.reason &&
    a.priority === b.priority &&
    a.isolation === b.isolation &&
    a.whenUnavailable === b.whenUnavailable &&
    sameList(a.groups, b.groups) &&
    sameOffer(a.offer, b.offer)
  )
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, place) => text === b[place])
}

function sameOffer(a: Offer | null, b: Offer | null): boolean {
  if (a === null || b === null) return a === b
  return (
    a.initialize === b.initialize &&
    a.tools === b.tools &&
    a.resources === b.resources &&
    a.resourceTemplates === b.resourceTemplates &&
    a.prompts === b.prompts
  )
}
