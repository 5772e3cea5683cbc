import { describe, expect, it } from 'vitest'
import { Lab, claim, kinds, n } from './lab.ts'

/** Pings of these ticks, `tick: target`. */
function pings(lab: Lab, ticks: number): string[] {
  return Array.from({ length: ticks }, (_, tick) =>
    lab.tick().send.flatMap(({ kind, to }) => (kind === 'ping' ? [`${tick}: ${to}`] : [])),
  ).flat()
}

describe('a probe', () => {
  it('reaches every member once in each round, in an order of its own', () => {
    const lab = new Lab()
    lab.know(8)
    const targets: string[] = []
    while (targets.length < 21) {
      const ping = lab.until('ping')
      targets.push(ping.to)
      lab.receive(Number(ping.to.slice(1)), { kind: 'ack', seq: ping.seq })
    }
    const rounds = [targets.slice(0, 7), targets.slice(7, 14), targets.slice(14)]
    for (const round of rounds) expect(round.toSorted()).toEqual(['n2', 'n3', 'n4', 'n5', 'n6', 'n7', 'n8'])
    expect(new Set(rounds.map(String)).size).toBeGreaterThan(1)
  })

  it('that is not answered in time asks three others, then the target is suspect and told so', () => {
    const lab = new Lab()
    lab.know(8)
    const ping = lab.until('ping')
    expect(lab.tick(4).send.filter(({ kind }) => kind === 'ping-request')).toEqual([])
    const asked = lab.tick().send.filter(({ kind }) => kind === 'ping-request')
    expect(asked).toHaveLength(3)
    expect(new Set(asked.map(({ to }) => to)).size).toBe(3)
    expect(asked.every(({ to }) => to !== ping.to)).toBe(true)
    const ended = lab.tick(5)
    expect(kinds(ended)).toContain(`suspect ${ping.to}`)
    const told = ended.send.find(({ to }) => to === ping.to)
    expect(told?.claims[0]).toMatchObject({ node: ping.to, status: 'suspect', by: n(1) })
  })

  it('is answered by an ack through one of the others, and by nobody else', () => {
    const lab = new Lab()
    lab.know(8)
    const ping = lab.until('ping')
    const asked = lab.tick(5).send.filter(({ kind }) => kind === 'ping-request')
    const stranger = [2, 3, 4, 5, 6, 7, 8].find(
      (node) => n(node) !== ping.to && !asked.some(({ to }) => to === n(node)),
    )
    lab.receive(stranger ?? 0, { kind: 'ack', seq: ping.seq })
    lab.receive(Number(ping.to.slice(1)), { kind: 'ack', seq: ping.seq - 1 })
    lab.receive(Number(asked[0]?.to.slice(1)), { kind: 'ack', seq: ping.seq - 1 })
    expect(kinds(lab.tick(5))).toContain(`suspect ${ping.to}`)
    const again = new Lab()
    again.know(8)
    const second = again.until('ping')
    const helper = again.tick(5).send.find(({ kind }) => kind === 'ping-request')
    again.receive(Number(helper?.to.slice(1)), { kind: 'ack', seq: second.seq })
    expect(kinds(again.tick(5))).toEqual([])
  })

  it('for another is relayed: the ack when it comes, before that a nack', () => {
    const lab = new Lab()
    lab.know(3)
    const [ping] = lab.receive(2, { kind: 'ping-request', seq: 77, target: n(3) }).send
    expect(ping).toMatchObject({ kind: 'ping', to: n(3) })
    const nacks = lab.tick(4).send.filter(({ kind }) => kind === 'nack')
    expect(nacks).toMatchObject([{ to: n(2), seq: 77 }])
    const seq = ping?.kind === 'ping' ? ping.seq : 0
    expect(lab.receive(3, { kind: 'ack', seq }).send).toMatchObject([{ kind: 'ack', to: n(2), seq: 77 }])
  })

  it('of a member whose link broke begins at once, and asks the others without waiting', () => {
    const lab = new Lab()
    lab.know(8)
    const ping = lab.until('ping')
    lab.receive(Number(ping.to.slice(1)), { kind: 'ack', seq: ping.seq })
    const victim = ping.to
    lab.step({ kind: 'link-down', peer: victim })
    expect(lab.tick().send.filter(({ kind }) => kind === 'ping')).toMatchObject([{ to: victim }])
    const { send } = lab.step({ kind: 'link-down', peer: victim })
    expect(send.filter(({ kind }) => kind === 'ping-request')).toHaveLength(3)
    expect(lab.standing(Number(victim.slice(1)))).toBe('alive 1/0')
  })

  it('of a link that flaps leaves every other one to the rest', () => {
    const lab = new Lab()
    lab.know(8)
    const targets: string[] = []
    for (let count = 0; count < 40; count += 1) {
      lab.step({ kind: 'link-down', peer: n(3) })
      const ping = lab.tick().send.find(({ kind }) => kind === 'ping')
      if (ping?.kind !== 'ping') continue
      targets.push(ping.to)
      lab.receive(Number(ping.to.slice(1)), { kind: 'ack', seq: ping.seq })
    }
    expect(targets.filter((to, at) => to === 'n3' && targets[at + 1] === 'n3')).toEqual([])
    expect(new Set(targets).size).toBeGreaterThan(2)
  })
})

describe('local health', () => {
  it('is worse for each helper that does not even say that the target is silent', () => {
    const lab = new Lab()
    lab.know(8)
    const ping = lab.until('ping')
    const asked = lab.tick(5).send.filter(({ kind }) => kind === 'ping-request')
    lab.receive(Number(asked[0]?.to.slice(1)), { kind: 'nack', seq: ping.seq })
    lab.tick(5)
    expect(lab.gossip.status().health).toBe(2)
  })

  it('is not worse when all helpers answer: then the target is to blame', () => {
    const lab = new Lab()
    lab.know(8)
    const ping = lab.until('ping')
    for (const { kind, to } of lab.tick(5).send) {
      if (kind === 'ping-request') lab.receive(Number(to.slice(1)), { kind: 'nack', seq: ping.seq })
    }
    expect(kinds(lab.tick(5))).toEqual([`suspect ${ping.to}`])
    expect(lab.gossip.status().health).toBe(0)
  })

  it('stretches interval and time-out of probes, up to eight times, and recovers with each ack', () => {
    const lab = new Lab()
    lab.know(3)
    for (let incarnation = 0; incarnation < 20; incarnation += 1) lab.hear(claim(1, 'suspect', { incarnation }))
    expect(lab.gossip.status().health).toBe(7)
    lab.until('ping')
    expect(lab.tick(39).send.filter(({ kind }) => kind === 'ping-request')).toEqual([])
    const { to, kind } = lab.tick().send.find((message) => message.kind === 'ping-request') ?? {}
    expect(kind).toBe('ping-request')
    expect(kinds(lab.tick(39))).toEqual([])
    expect(to).toBeDefined()
    expect(kinds(lab.tick())).toHaveLength(1)
    const ping = lab.until('ping')
    lab.receive(Number(ping.to.slice(1)), { kind: 'ack', seq: ping.seq })
    expect(lab.gossip.status().health).toBe(6)
  })

  it('is worse after time that this node has missed, and what was open then accuses nobody', () => {
    const lab = new Lab()
    lab.know(8)
    lab.until('ping')
    lab.step({ kind: 'ticks-missed', ticks: 50 })
    expect(lab.gossip.status().health).toBe(1)
    expect(kinds(lab.tick(20))).toEqual([])
  })
})

describe('when nothing is wrong', () => {
  it('one ping goes out in each interval', () => {
    const lab = new Lab()
    lab.know(2)
    lab.tick(10)
    expect(pings(lab, 10).length).toBeLessThanOrEqual(1)
  })
})
