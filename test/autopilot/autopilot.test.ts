import { describe, expect, it } from 'vitest'
import { deadLearnerMs } from '../../src/autopilot/limits.ts'
import { played, textOf } from './lab.ts'

type Row = readonly [sentence: string, phases: readonly string[], does: string]

const dayLong = deadLearnerMs / 1000

const rules: Readonly<Record<string, readonly Row[]>> = {
  'autopilot promotes': [
    ['nobody while there are as many voters as three or four nodes need', ['9 s: 1 2 3 | 4'], 'enough-voters'],
    ['the first of two learners that make five voters of three', ['2 s: 1 2 3 | 4 5'], 'promote 4'],
    ['the second one at once, with four voters', ['2 s: 1 2 3 | 4 5', '0 s: 1 2 3 4 | 5'], 'promote 5'],
    ['nobody beyond maxVoters', ['9 s: 1 2 3 4 5 | 6 7'], 'enough-voters'],
    ['two of a single voter and two learners', ['2 s: 1 | 2 3'], 'promote 2'],
    ['no learner of a single voter alone', ['9 s: 1 | 2'], 'enough-voters'],
    ['the third of two voters', ['2 s: 1 2 | 3'], 'promote 3'],
    ['who replaces a voter that leaves', ['2 s: 1 2 3:leave | 4'], 'promote 4'],
    ['nobody for a voter that drains and comes back', ['9 s: 1 2 3:drain | 4'], 'enough-voters'],
  ],

  'autopilot keeps a learner one': [
    ['until it has been sound for stabilizationMs', ['1 s: 1 2 | 3'], 'not-steady 3'],
    ['when it was not sound in between', ['1 s: 1 2 | 3', '0 s: 1 2 | 3:suspect', '1 s: 1 2 | 3'], 'not-steady 3'],
    ['that would make the number of voters even', ['9 s: 1 2 3 | 4 5:behind'], 'not-sound 5, alone 4'],
    ['that gossip calls suspect', ['9 s: 1 2 | 3:suspect'], 'not-sound 3'],
    ['that gossip calls dead, though Raft hears it', ['9 s: 1 2 | 3:gone'], 'not-sound 3'],
    ['that Raft does not hear, though gossip does', ['9 s: 1 2 | 3:silent'], 'not-sound 3'],
    ['that is sent a snapshot', ['9 s: 1 2 | 3:snapshot'], 'not-sound 3'],
    ['that is probed', ['9 s: 1 2 | 3:probe'], 'not-sound 3'],
    ['that is more than 1000 entries behind', ['9 s: 1 2 | 3:behind'], 'not-sound 3'],
    ['that is recovering', ['9 s: 1 2 | 3:recovering'], 'not-sound 3'],
    ['whose disk is full', ['9 s: 1 2 | 3:full'], 'not-sound 3'],
    ['that drains', ['9 s: 1 2 | 3:drain'], 'not-sound 3'],
    ['that leaves, and has no need of it', ['9 s: 1 2 | 3:leave'], 'enough-voters'],
    ['that is dead, and has no need of it', ['9 s: 1 2 | 3:dead'], 'enough-voters'],
  ],

  'a dead voter': [
    ['stays for deadVoterMs', ['59 s: 1 2 3:dead | 4'], 'enough-voters, not-long-dead 3'],
    ['makes room for a learner then', ['60 s: 1 2 3:dead | 4'], 'promote 4'],
    ['goes when the learner votes', ['60 s: 1 2 3:dead | 4', '0 s: 1 2 3:dead 4'], 'remove 3'],
    ['is as dead when it has left', ['60 s: 1 2 3:left | 4'], 'promote 4'],
    ['is as dead when gossip never heard of it', ['60 s: 1 2 3:unknown | 4'], 'promote 4'],
    ['is not, while Raft hears it', ['99 s: 1 2 3:gone | 4'], 'enough-voters'],
    ['is not, while gossip does', ['99 s: 1 2 3:silent | 4'], 'enough-voters'],
    [
      'counts anew when it was there in between',
      ['50 s: 1 2 3:dead | 4', '0 s: 1 2 3:suspect | 4', '50 s: 1 2 3:dead | 4'],
      'enough-voters, not-long-dead 3',
    ],
    ['is not replaced when it was drained: it is to come back', ['99 s: 1 2 3:down | 4'], 'enough-voters, awaited 3'],
    ['of five is not removed when it was drained', ['99 s: 1 2 3 4 5:down'], 'awaited 5'],
    ['is replaced when that is taken back', ['60 s: 1 2 3:down | 4', '0 s: 1 2 3:dead | 4'], 'promote 4'],
    ['of three is not removed without a learner', ['99 s: 1 2 3:dead'], 'too-few-left 3'],
    [
      'of three is not removed while the learner is not ready',
      ['99 s: 1 2 3:dead | 4:behind'],
      'not-sound 4, too-few-left 3',
    ],
    ['of four is removed', ['60 s: 1 2 3 4:dead'], 'remove 4'],
    ['of five is removed', ['60 s: 1 2 3 4 5:dead'], 'remove 5'],
    ['of five is replaced where there is a learner', ['60 s: 1 2 3 4 5:dead | 6'], 'promote 6'],
    [
      'is removed before a second one is replaced',
      ['60 s: 1 2 3 4:dead 5:dead | 6 7', '0 s: 1 2 3 4:dead 5:dead 6 | 7'],
      'remove 4',
    ],
    [
      'goes before another one that is not dead for so long',
      ['30 s: 1 2 3 4:dead 5', '30 s: 1 2 3:dead 4:dead 5'],
      'remove 4',
    ],
    ['that is to leave is removed all the same', ['2 s: 1 2 3 4:leave', '60 s: 1 2 3 4:dead'], 'remove 4'],
  ],

  'autopilot does nothing': [
    ['while a majority of the voters is not sound', ['99 s: 1 2:suspect 3:dead 4:suspect 5'], 'no-sure-majority 3'],
    [
      'while one voter of the result is draining and another dead',
      ['99 s: 1 2:drain 3:dead | 4'],
      'no-sure-majority 4, too-few-left 3',
    ],
    [
      'while one of the result is recovering and another dead',
      ['99 s: 1 2:recovering 3:dead | 4'],
      'no-sure-majority 4, too-few-left 3',
    ],
    ['while a change is under way', ['99 s: 1 2 3:dead | 4; changing'], 'changing'],
    ['while its own node drains', ['99 s: 1:drain 2 3:dead | 4'], 'not-fit 1'],
    ['while its own node is recovering', ['99 s: 1:recovering 2 3:dead | 4'], 'not-fit 1'],
    [
      'in a new term, until it has seen enough in it',
      ['99 s: 1 2 3:dead | 4', '59 s: 1 2 3:dead | 4; term 2'],
      'enough-voters, not-long-dead 3',
    ],
    [
      'when it was blind: what was meanwhile it does not know',
      ['30 s: 1 2 3:dead | 4', '31 s: blind', '0 s: 1 2 3:dead | 4'],
      'enough-voters, not-long-dead 3',
    ],
    ['about a dead learner for a day', [`${dayLong - 1} s: 1 2 3 | 4:dead`], 'enough-voters'],
  ],
}

describe.each(Object.entries(rules))('%s', (_, rows) => {
  it.each(rows)('%s', (_sentence, phases, does) => {
    expect(textOf(played(phases))).toBe(does)
  })
})

describe('autopilot', () => {
  it('removes a learner that has been dead for a day, unless it was drained', () => {
    expect(textOf(played([`${dayLong} s: 1 2 3 | 4:dead`]))).toBe('remove 4')
    expect(textOf(played([`${dayLong} s: 1 2 3 | 4:down`]))).toBe('enough-voters')
  })

  it.each([
    ['1', 1],
    ['1 | 2', 1],
    ['1 2', 1],
    ['1 2 3 | 4', 3],
    ['1 2 3 | 4 5', 5],
    ['1 2 3 | 4 5:dead', 3],
    ['1 2 3 | 4 5:leave', 3],
    ['1 2 3 | 4 5:drain', 5],
    ['1 2 3 4 5 | 6 7 8', 5],
    ['1 2 3:dead', 3],
    ['1 2 3:dead 4:dead', 3],
    ['1 2 3:leave', 3],
    ['1 2 3:down | 4 5', 5],
    ['1 2 3 4 5 6 7', 7],
  ])('of %s wants %i voters', (cluster, target) => {
    expect(played([`0 s: ${cluster}`]).voterTarget).toBe(target)
  })

  it('wants an odd number of voters where maxVoters is even', () => {
    expect(played(['0 s: 1 2 3 | 4 5'], { votersMax: 4 }).voterTarget).toBe(3)
  })

  it.each([
    ['1 2 3', 1],
    ['1 2 3 4', 1],
    ['1 2 3 4 5', 2],
    ['1 2 3 4:suspect 5:dead', 0],
    ['1 2 3:dead | 4', 0],
    ['1 2:dead 3:dead', 0],
  ])('says of %s how many more may fail: %i', (cluster, tolerance) => {
    expect(played([`0 s: ${cluster}`]).failureTolerance).toBe(tolerance)
  })

  it('says what it does and why in sentences that stay the same', () => {
    expect(played(['60 s: 1 2 3:dead | 4']).decision?.why).toBe('it takes the place of 3')
    const [earlier, later] = ['3 s: 1 2 3:dead', '9 s: 1 2 3:dead'].map((phase) => played([phase]).holds)
    expect(earlier).toEqual(later)
    expect(later?.map(({ why }) => why)).toEqual(['3 is dead: it is replaced or removed when it has been so for 60 s'])
  })
})
