/**
 * What the Raft paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", extended version) and
 * Ongaro's thesis ("Consensus: Bridging Theory and Practice", chapters 3, 4, 6 and section 9.6) claim or demand, one sentence
 * each, then what this core claims about damaged, full and slow disks, and the test that holds it to that. A test of a scenario is named by the scenario's file.
 */
export type Claim = {
  readonly id: number
  readonly section: string
  readonly claim: string
  readonly file: string
  readonly test: string
}

const paper = 'paper.test.ts'
const thesis = 'thesis.test.ts'
const random = 'random.test.ts'
const story = 'scenarios'
const always = 'keep every claim of Raft from each seed'

type Row = readonly [section: string, claim: string, file: string, test: string]

const rows: readonly Row[] = [
  [
    'Raft 5.1',
    'A server that sees a higher term adopts it and becomes a follower.',
    paper,
    'a candidate or leader that sees a higher term becomes a follower of that term',
  ],
  [
    'Raft 5.1',
    'A request with a lower term is rejected, and the answer bears the present one.',
    paper,
    'a request of a lower term changes nothing, and its sender is told the present term',
  ],
  [
    'Raft 5.1',
    'A leader whose term is out of date steps down when it learns so.',
    paper,
    'a deposed leader that does not know it steps down at the first answer',
  ],
  ['Raft 5.2', 'Election safety: at most one leader is elected in a term.', random, always],
  ['Raft 5.2', 'A follower that hears nobody for an election timeout begins an election.', story, 'election'],
  [
    'Raft 5.2',
    'Election timeouts are drawn at random from an interval, anew for each election.',
    paper,
    'a follower campaigns after one to two election timeouts without a leader, at a time drawn anew',
  ],
  [
    'Raft 5.2',
    'Each server votes for at most one candidate in a term, first come first served.',
    paper,
    'a node gives one vote a term, first come first served, and repeats it to the same candidate',
  ],
  [
    'Raft 5.2',
    'A candidate wins with the votes of a majority of the full cluster.',
    paper,
    'a candidate needs a majority, and a vote that arrives twice is one vote',
  ],
  [
    'Raft 5.2',
    'Votes count in the term for which they were asked only.',
    paper,
    'votes of an older campaign do not count in a new one',
  ],
  [
    'Raft 5.2',
    'A candidate that hears a leader of its term recognizes it.',
    paper,
    'a candidate that hears the leader of its term follows it',
  ],
  [
    'Raft 5.2',
    'When votes are split, the candidates time out and a new election in a higher term follows.',
    story,
    'split-vote',
  ],
  [
    'Raft 5.2',
    'A leader sends heartbeats to all, so that nobody else begins an election.',
    paper,
    'a leader sends heartbeats to all at every interval, and its followers do not campaign',
  ],
  [
    'Raft 5.3',
    'A leader appends a command and sends it to all other servers in parallel.',
    paper,
    'a leader sends each new entry to all followers with the place before it',
  ],
  [
    'Raft 5.3',
    'An entry is committed once the leader has replicated it on a majority.',
    paper,
    'an entry is committed once a majority has it, applied in the order of the log, and followers hear of it',
  ],
  [
    'Raft 5.3',
    'An entry on less than a majority is not committed.',
    paper,
    'an entry on less than a majority is not committed',
  ],
  ['Raft 5.3', 'The leader tells the highest committed index with its later messages.', story, 'news-of-a-commit'],
  ['Raft 5.3', 'The leader tries again until every follower has every entry.', story, 'lost-append-is-sent-again'],
  [
    'Raft 5.3',
    'Log matching: entries of the same index and term are the same, and so is all that precedes them.',
    random,
    always,
  ],
  [
    'Raft 5.3',
    'A follower that lacks the entry before the new ones refuses them.',
    paper,
    'a follower rejects an append whose previous entry it lacks or has with another term',
  ],
  [
    'Raft 5.3',
    'Conflicting entries of a follower are replaced by those of the leader.',
    paper,
    'a follower deletes an entry that conflicts and all that follow it',
  ],
  [
    'Raft 5.3',
    'The leader makes any log of figure 7 agree with its own.',
    paper,
    'a leader makes the logs of figure 7 equal to its own',
  ],
  [
    'Raft 5.3',
    'With the conflicting term in the answer, one request per term finds where logs agree.',
    paper,
    'a leader needs at most one rejected probe per term, however long the terms are',
  ],
  [
    'Raft 5.3',
    'Leader append-only: a leader never overwrites or deletes entries of its log.',
    paper,
    'a leader never changes its own log, whoever claims to lead its term',
  ],
  [
    'Raft 5.4.1',
    'A voter denies its vote to a candidate whose log is less up to date than its own.',
    paper,
    '5.4.1: a voter rejects a candidate whose log is less up to date than its own',
  ],
  [
    'Raft 5.4.2',
    'Only entries of the present term are committed by counting; earlier ones with them.',
    paper,
    '5.4.2: a leader commits entries of earlier terms only together with one of its own',
  ],
  ['Raft 5.4.2', 'Figure 8: an entry of an earlier term on a majority can still be overwritten.', story, 'figure-8'],
  [
    'Raft 5.4.3',
    'Leader completeness: a committed entry is in the log of every later leader.',
    paper,
    '5.4.3: a node without a committed entry is not elected',
  ],
  ['Raft 5.4.3', 'State machine safety: no two servers apply different entries at an index.', random, always],
  [
    'Raft 5.5',
    'Requests are idempotent: a follower ignores entries that it has.',
    paper,
    'a repeated append changes nothing and is answered alike',
  ],
  ['Raft 5.5', 'A late request or answer does no harm.', story, 'shorter-duplicate-append-does-not-truncate'],
  [
    'Raft 5.6',
    'Heartbeats come more often than elections time out.',
    paper,
    'an election timeout that is not longer than a heartbeat is no configuration',
  ],
  [
    'Raft 7',
    'Each server takes snapshots by itself, of committed entries only.',
    thesis,
    'a node takes a snapshot of what it has applied, and of nothing else',
  ],
  [
    'Raft 7',
    'Entries up to the snapshot may be discarded.',
    thesis,
    'each node compacts its log by itself, and keeps so many entries behind the snapshot as it is told',
  ],
  [
    'Raft 7',
    'A snapshot holds its last index and term for the consistency check of what follows.',
    thesis,
    'the place before the first entry stays known: what follows it is accepted, what contradicts it is not',
  ],
  [
    'Raft 7',
    'A snapshot holds the latest configuration as of its last index.',
    story,
    'membership-survives-two-compactions',
  ],
  [
    'Raft 7',
    'A leader sends its snapshot when it has discarded the next entry that a follower needs.',
    story,
    'log-compacted-to-its-end',
  ],
  [
    'Raft 7',
    'A snapshot that goes beyond the log, or conflicts with it, takes the place of all of it.',
    story,
    'snapshot-over-a-conflicting-log',
  ],
  [
    'Raft 7, figure 13',
    'If the log has the last entry of the snapshot, what follows that is kept.',
    story,
    'snapshot-of-a-log-that-is-there',
  ],
  [
    'Raft 7, figure 13',
    'A snapshot from a leader of a lower term is not taken.',
    thesis,
    'a snapshot of a deposed leader is neither installed nor acknowledged',
  ],
  [
    'Raft 7, figure 13',
    'The state machine is reset from the snapshot, with its configuration.',
    story,
    'restart-behind-a-snapshot',
  ],
  [
    'Raft 7',
    'A server that falls while it installs a snapshot is as it was, or has it.',
    story,
    'snapshot-crash-before-it-is-installed',
  ],
  [
    'Raft 8',
    'A server that is not the leader hands requests on to the leader.',
    paper,
    'a follower hands a proposal on to the leader, which does not append it twice',
  ],
  [
    'Raft 8',
    'A leader commits a noop at the start of its term.',
    paper,
    'a new leader appends a noop at once and so learns what is committed',
  ],
  ['Raft 8', 'Before it answers a read, a leader exchanges heartbeats with a majority.', story, 'read-index'],
  ['thesis 3.4', 'A split vote ends by randomized timeouts.', story, 'split-vote'],
  [
    'thesis 3.8',
    'Term and vote are durable before anybody is answered.',
    paper,
    'no vote, acceptance or request for a vote leaves before what it promises is durable',
  ],
  [
    'thesis 3.8',
    'A vote outlives a restart.',
    paper,
    'a vote outlives a crash, and another candidate of the term does not get it',
  ],
  ['thesis 3.8', 'The commit index may be lost; it is found again.', story, 'restart-replays'],
  [
    'thesis 3.10',
    'A leader that transfers leadership takes no more requests.',
    thesis,
    'a leader that hands over takes no proposals, its own or forwarded, until the transfer ends',
  ],
  ['thesis 3.10', 'It first brings the log of the target up to date.', story, 'transfer-to-a-lagging-node'],
  [
    'thesis 3.10',
    'The target begins an election at once, without waiting for a time-out, and most likely wins.',
    thesis,
    'the target leads the next term without waiting, and the old leader follows',
  ],
  [
    'thesis 3.10',
    'A transfer that does not complete within an election timeout is aborted.',
    story,
    'transfer-that-comes-to-nothing',
  ],
  [
    'thesis 3.10',
    'A request to campaign is only heeded from the present leader, by who may lead.',
    thesis,
    'a request to campaign counts only from the leader of the term, for a voter',
  ],
  [
    'thesis 4.1',
    'A configuration takes effect when it is appended, committed or not.',
    thesis,
    'a configuration rules from its append on: the leader counts by it before it is committed',
  ],
  [
    'thesis 4.1',
    'When the entry is removed from the log, the configuration before it rules again.',
    story,
    'change-rolled-back',
  ],
  [
    'thesis 4.1',
    'A server takes entries from a leader that is not in its configuration.',
    story,
    'joiner-among-strangers',
  ],
  [
    'thesis 4.1',
    'A server votes for a candidate that is not in its configuration.',
    story,
    'candidate-of-a-newer-configuration',
  ],
  ['thesis 4.1', 'No second change begins before the first one is committed.', story, 'one-change-at-a-time'],
  [
    'thesis 4.1, erratum',
    'A leader makes no change before it has committed an entry of its term.',
    thesis,
    'a leader makes one change at a time, and none before it has committed something of its own term',
  ],
  [
    'thesis 4.2.1',
    'A new server first joins without a vote, and gets the log.',
    thesis,
    'learners get the log, and count for nothing',
  ],
  [
    'thesis 4.2.1',
    'It becomes a voter when rounds of replication show that it has caught up.',
    thesis,
    '4.2.1: a learner is promoted by itself after three rounds in which it had everything, and no earlier',
  ],
  [
    'thesis 4.2.1',
    'One that is down or too slow does not become one.',
    thesis,
    '4.2.1: a learner that does not answer, or lags, is not promoted, nor is one beyond the number of voters',
  ],
  [
    'thesis 4.2.2',
    'A leader that is not in the new configuration steps down when that is committed.',
    story,
    'removed-leader-steps-down',
  ],
  [
    'thesis 4.2.2',
    'Until then it replicates, without counting itself.',
    thesis,
    '4.2.2: a leader that is being removed replicates, but is not counted',
  ],
  [
    'thesis 4.2.2',
    'A server that is not in its own newest configuration may still begin an election.',
    thesis,
    '4.2.2: a node that its newest configuration removes may campaign until that is committed',
  ],
  [
    'thesis 4.2.3',
    'A server that has heard a leader within an election timeout answers no request for a vote.',
    paper,
    '4.2.3: a node that hears its leader ignores requests for votes, and its term stays',
  ],
  ['thesis 4.2.3', 'A removed server does not disrupt the cluster.', story, 'removed-node-does-not-disturb'],
  ['thesis 4.2.3', 'An election that the leader asked for passes that protection.', story, 'transfer'],
  [
    'thesis 4.3',
    'In a joint configuration, entries go to all servers of both, and any of them may lead.',
    thesis,
    '4.3: the log goes to the nodes of both sets, and any of them may lead',
  ],
  [
    'thesis 4.3',
    'In a joint configuration, commitment needs a majority of each.',
    thesis,
    '4.3: while a change is under way, an entry needs a majority of both sets of voters',
  ],
  [
    'thesis 4.3',
    'In a joint configuration, an election needs a majority of each.',
    thesis,
    '4.3: while a change is under way, a candidate needs a majority of both sets of voters',
  ],
  [
    'thesis 4.3',
    'A leader that finds a committed joint configuration goes on to the new one.',
    story,
    'joint-with-a-crashed-leader',
  ],
  [
    'thesis 6.2',
    'A leader that gets no answers of a majority for an election timeout steps down.',
    paper,
    '6.2: a leader that a majority does not answer within an election timeout steps down, in its own term',
  ],
  [
    'thesis 6.2',
    'A client whose leader was lost does not take its request for failed.',
    paper,
    '6.2: a proposal of a lost leader is neither applied nor refused until its place in the log is decided',
  ],
  [
    'thesis 6.3',
    'A request that is handed on twice is carried out once.',
    paper,
    'a follower hands a proposal on to the leader, which does not append it twice',
  ],
  [
    'thesis 6.3',
    'Time that the state machines use comes from the log, from the leader, and never falls.',
    story,
    'log-time',
  ],
  ['thesis 6.4', 'A read waits until the leader has committed an entry of its term.', story, 'read-waits-for-own-term'],
  ['thesis 6.4', 'A read returns nothing older than what was committed when it came in.', random, always],
  [
    'thesis 6.4',
    'A deposed leader that does not know it answers no read.',
    thesis,
    'a deposed leader that does not know it answers no read',
  ],
  [
    'thesis 6.4',
    'One round of heartbeats serves all reads that came in before it.',
    thesis,
    'reads that come in together share one round, and each is answered once',
  ],
  ['thesis 6.4', 'A follower serves reads by asking the leader for a read index.', story, 'read-on-a-follower'],
  [
    'thesis 6.4.1',
    'With a lease, a leader answers reads without a round for less than an election timeout, counted from when it asked.',
    story,
    'lease-reads',
  ],
  [
    'thesis 6.4.1',
    'A lease needs that nobody votes within an election timeout of hearing the leader.',
    thesis,
    '6.4.1: with leases, a node that vouched for a leader neither votes nor campaigns while that counts',
  ],
  ['thesis 6.4.1', 'A leader that transfers leadership gives up its lease.', story, 'lease-ends-with-a-transfer'],
  [
    'thesis 9.6',
    'A pre-vote changes no term and no vote.',
    paper,
    'a pre-vote changes neither term nor vote of any node, and may be given to several',
  ],
  [
    'thesis 9.6',
    'A candidate raises its term only if a majority would vote for it.',
    paper,
    'a pre-vote is refused to a node whose log is behind, so it does not raise its term',
  ],
  [
    'thesis 9.6',
    'A server that was partitioned does not depose the leader when it comes back.',
    paper,
    'a node that was cut off does not depose the leader when it is back',
  ],
  ['thesis 9.6', 'A pre-vote is granted only by who has heard no leader for an election timeout.', story, 'stickiness'],
  [
    'thesis 10.2.1',
    'A leader writes its disk in parallel with replication, and counts itself when that is done.',
    story,
    'leader-counts-itself-only-when-durable',
  ],
  [
    'thesis 10.2.2',
    'Requests are batched, and pipelined without waiting for answers.',
    thesis,
    'requests to a member that keeps up follow each other without waiting, up to the window',
  ],
  [
    'recovery',
    'A node that lost something gives no vote, and no pre-vote, to anyone.',
    story,
    'votes-asked-of-a-recovering-node',
  ],
  ['recovery', 'It does not campaign, also when its leader tells it to.', story, 'votes-asked-of-a-recovering-node'],
  [
    'recovery',
    'It answers its leader with nothing but that, until it is told from where on it may count.',
    story,
    'damaged-follower-recovers',
  ],
  [
    'recovery',
    'A leader that was told counts it for nothing until its noop is committed without it.',
    story,
    'two-of-three-damaged',
  ],
  ['recovery', 'It counts for no read and no lease.', story, 'recovering-member-counts-for-no-read'],
  ['recovery', 'It is handed no leadership.', story, 'hand-over-past-who-recovers'],
  [
    'recovery',
    'It is not promoted, and no voter is removed without whom nothing could be committed.',
    story,
    'recovering-member-and-changes',
  ],
  [
    'recovery',
    'What it acknowledged before the loss, and comes late, is not taken for what it has.',
    story,
    'late-acknowledgement-from-before-the-loss',
  ],
  [
    'recovery',
    "No commit index makes it take its own old entries for the leader's.",
    story,
    'old-log-under-a-late-acknowledgement',
  ],
  [
    'recovery',
    'A leader that is deposed, by votes that the node forgot, ends nothing.',
    story,
    'recovery-under-a-leader-of-the-past',
  ],
  [
    'recovery',
    'With another leader, or in another term, it begins anew.',
    story,
    'recovery-begins-anew-with-another-leader',
  ],
  [
    'recovery',
    'It gives a vote only when it is durable that it has recovered.',
    story,
    'crash-before-recovery-is-durable',
  ],
  [
    'recovery',
    'An acknowledged entry whose only other holder recovers is lost by no election.',
    story,
    'acknowledged-entry-whose-other-holder-recovers',
  ],
  ['recovery', 'A leader that lost its log follows another, and counts again.', story, 'damaged-leader-recovers'],
  [
    'recovery',
    'A request that comes late, or twice, keeps no member that is well from counting.',
    story,
    'late-recovery-request',
  ],
  [
    'recovery',
    'A voter that lost its whole disk votes no second time in a term.',
    story,
    'voter-that-begins-with-nothing',
  ],
  [
    'recovery',
    'One that lost acknowledged entries unnoticed finds out from a heartbeat, and recovers.',
    story,
    'lost-tail-found-by-heartbeat',
  ],
  [
    'recovery',
    'Where nobody else can tell what was promised, it stays recovering.',
    story,
    'two-voters-and-one-that-recovers',
  ],
  ['recovery', 'Whatever part of its disk a node loses, nothing that was committed is lost.', random, always],
  [
    'disk',
    'A leader whose disk is full refuses proposals, and hands over once to one that may have room.',
    story,
    'full-disk-of-the-leader',
  ],
  [
    'disk',
    'A follower whose disk is full takes no entries, and goes on when there is room.',
    story,
    'full-disk-of-a-follower',
  ],
  [
    'disk',
    'A leader whose disk stands still hands over, also while writes keep coming, or gives up.',
    story,
    'stalled-disk',
  ],
]

export const claims: readonly Claim[] = rows.map(([section, claim, file, test], at) => {
  return { id: at + 1, section, claim, file, test }
})
