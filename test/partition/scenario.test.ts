import { readFileSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { isMutant } from '../../scripts/partition/mutants.ts'
import { parseScenario, type Action } from '../../scripts/partition/scenario.ts'
import { weakenings } from '../../scripts/partition/types.ts'

const folder = path.resolve(import.meta.dirname, '../../scripts/partition/scenarios')

/** One step in a scenario of five nodes. */
function step(text: string): Action | undefined {
  return parseScenario(`nodes 5\nat 1s ${text}\nend 60s`).steps[0]?.action
}

describe('a scenario', () => {
  it('says what it is about, who forms the cluster, what happens when, when it ends and what is expected', () => {
    const text =
      '# The leader\n# is cut off.\nnodes 3\n\nat 8s heal # again\nat 2s isolate leader\nend 14s\nexpect gap <= 5s\nfails with stale-reads\n'
    expect(parseScenario(text)).toEqual({
      about: 'The leader is cut off.',
      nodes: 3,
      steps: [
        { line: 6, atMs: 2000, text: 'isolate leader', action: { verb: 'isolate', node: 'leader' } },
        { line: 5, atMs: 8000, text: 'heal', action: { verb: 'heal' } },
      ],
      joining: [],
      endMs: 14_000,
      expectations: [{ line: 8, text: 'gap <= 5s', subject: 'gap', comparison: '<=', value: 5000 }],
      failsWith: 'stale-reads',
    })
  })

  const ways = (from: string[], to: string[], isBothWays: boolean) => ({ from, to, isBothWays })
  it.each<[string, Action]>([
    ['isolate n3', { verb: 'isolate', node: 'n3' }],
    ['split n1 n2 | leader | others', { verb: 'split', sides: [['n1', 'n2'], ['leader'], ['others']] }],
    ['cut n1 -> n2', { verb: 'cut', ways: ways(['n1'], ['n2'], false) }],
    ['cut others - leader', { verb: 'cut', ways: ways(['others'], ['leader'], true) }],
    ['bridge n3', { verb: 'bridge', node: 'n3' }],
    ['ring', { verb: 'ring' }],
    ['flap n1 - n2 every 500ms for 5s', { verb: 'flap', ways: ways(['n1'], ['n2'], true), everyMs: 500, forMs: 5000 }],
    ['delay n1 - n2 200ms', { verb: 'delay', ways: ways(['n1'], ['n2'], true), delayMs: 200, jitterMs: 0 }],
    [
      'delay n1 n3 -> n2 1.5s +-100ms',
      { verb: 'delay', ways: ways(['n1', 'n3'], ['n2'], false), delayMs: 1500, jitterMs: 100 },
    ],
    ['loss n1 - others 20%', { verb: 'loss', ways: ways(['n1'], ['others'], true), loss: 0.2 }],
    ['bandwidth n1 - n2 64KiB/s', { verb: 'bandwidth', ways: ways(['n1'], ['n2'], true), bytesPerSecond: 65_536 }],
    ['pause follower2', { verb: 'pause', node: 'follower2' }],
    ['resume', { verb: 'resume', node: null }],
    ['kill leader', { verb: 'kill', node: 'leader' }],
    ['restart n2', { verb: 'restart', node: 'n2' }],
    ['join n6', { verb: 'join', node: 'n6' }],
    ['leave n4', { verb: 'leave', node: 'n4' }],
    ['drain n4', { verb: 'drain', node: 'n4' }],
    ['wait', { verb: 'wait' }],
    ['undrain', { verb: 'undrain', node: null }],
    ['storm every 1s for 20s', { verb: 'storm', everyMs: 1000, forMs: 20_000 }],
  ])('knows the step "%s"', (text, action) => {
    expect(step(text)).toEqual(action)
  })

  it.each([
    ['gap <= 5s', 'gap', 5000],
    ['recovery <= 800ms', 'recovery', 800],
    ['availability >= 90%', 'availability', 0.9],
    ['leaders >= 2', 'leaders', 2],
    ['failed-calls <= 0', 'failed-calls', 0],
  ])('can expect "%s"', (text, subject, value) => {
    expect(parseScenario(`nodes 3\nend 5s\nexpect ${text}`).expectations[0]).toMatchObject({ subject, value })
  })

  it.each([
    ['at 1s fly n1', /^line 2: "fly" is no verb; there are isolate, /],
    ['at 1s isolate', /^line 2: a node is missing/],
    ['at 1s isolate n1 n2', /^line 2: "n2" is too much/],
    ['at 1s isolate node1', /^line 2: "node1" is no node/],
    ['at 1s isolate n9', /^line 2: there is no node n9 then/],
    ['at 1s isolate others', /^line 2: "others" is no node/],
    ['at 1 isolate n1', /^line 2: "1" is no measure such as 500ms or 2s/],
    ['at 1m isolate n1', /^line 2: "1m" is no measure/],
    ['at 61s heal', /^line 2: the step is behind the end/],
    ['at 50s flap n1 - n2 every 1s for 11s', /^line 2: the step lasts beyond the end/],
    ['at 1s flap n1 - n2 every 10ms for 1s', /^line 2: every less than 50ms/],
    ['at 1s cut n1 n2', /^line 2: -> or - is missing/],
    ['at 1s cut n1 => n2', /^line 2: "=>" is neither -> nor -/],
    ['at 1s cut n1 - n1', /^line 2: n1 is named twice/],
    ['at 1s split n1 n2', /^line 2: a split has sides/],
    ['at 1s split n1 | n2 n1', /^line 2: n1 is named twice/],
    ['at 1s loss n1 - n2 120%', /^line 2: more than 100%/],
    ['at 1s loss n1 - n2 0.2', /^line 2: "0.2" is no measure such as 20%/],
    ['at 1s delay n1 - n2 1s 100ms', /^line 2: "100ms" is no jitter such as \+-100ms/],
    ['at 1s bandwidth n1 - n2 64KiB', /^line 2: "64KiB" is no measure such as 64KiB\/s/],
    ['at 1s bandwidth n1 - n2 1constructor', /^line 2: "1constructor" is no measure/],
    ['at 1s join leader', /^line 2: "leader" can not join/],
    ['at 1s join n2', /^line 2: n2 is there already/],
    ['nodes 3', /^line 2: was said before/],
    ['wait 5s', /^line 2: "wait" is no directive/],
    ['fails without stale-reads', /^line 2: "with" is expected, not "without"/],
    ['fails with', /^line 2: the name of a switch or of a mutant is missing/],
    ['expect luck >= 1', /^line 2: nothing is known of "luck"/],
    ['expect gap < 5s', /^line 2: "<" is neither <= nor >=/],
    ['expect gap <= 5', /^line 2: "5" is no measure/],
    ['expect leaders >= some', /^line 2: "some" is no number from 0 to 1000/],
  ])('refuses "%s" and names the line', (text, message) => {
    expect(() => parseScenario(`nodes 5\n${text}\nend 60s`)).toThrow(message)
  })

  it('needs nodes and an end', () => {
    expect(() => parseScenario('end 5s')).toThrow('line 1: nodes is missing')
    expect(() => parseScenario('nodes 3')).toThrow('line 1: end is missing')
    expect(() => parseScenario('nodes 8\nend 5s')).toThrow('line 1: "8" is no number from 3 to 7')
    expect(() => parseScenario('nodes 3\nend 1000s')).toThrow('end is later than 600s')
  })

  const files = readdirSync(folder)
  it('is there at least fourteen times, each with what it is about and what it fails with', () => {
    expect(files.length).toBeGreaterThanOrEqual(14)
    for (const file of files) {
      const scenario = parseScenario(readFileSync(path.join(folder, file), 'utf8'))
      expect(scenario.about.length, file).toBeGreaterThan(20)
      expect(scenario.steps.length, file).toBeGreaterThan(0)
      const { failsWith } = scenario
      expect(failsWith !== null && (isMutant(failsWith) || failsWith in weakenings), `${file}: ${failsWith}`).toBe(true)
    }
  })
})
