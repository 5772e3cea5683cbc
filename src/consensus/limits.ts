/**
 * What the consensus loop holds at most. A frame that finds no room is dropped and counted, which to Raft is a lost message;
 * a proposal that finds none is refused.
 */
const MiB = 1024 * 1024

/** Events that wait for the next turn of the loop, and the bytes of their frames. The `log` lane may fill half of it. */
export const queuedEventsMax = 16_384
export const queuedBytesMax = 64 * MiB

/** Of one append request; a single larger entry travels alone. */
export const appendBytesMax = 1 * MiB
export const proposalBytesMax = 2 * MiB
/** What the leader takes in before it is committed. */
export const uncommittedBytesMax = 32 * MiB
/**
 * Append requests in flight to one member; no more bytes than its lane's send buffer takes. Few, because what waits goes in
 * one request: a member's disk has the next batch when it has done one, and no round trip is paid for single entries.
 */
export const inflightMax = 4
export const inflightBytesMax = 4 * MiB
/** What a state machine is given before it has applied the rest; a leader takes no more proposals then. */
export const unappliedEntriesMax = 65_536
/** Proposals, and reads, of this node whose outcome is open. */
export const pendingProposalsMax = 4096
export const pendingReadsMax = 4096
/** Entries behind a snapshot that stay in the log for members that are a little behind, at most; else half of a snapshot's. */
export const trailingEntriesMax = 5000

/** A snapshot on its way to a peer: bytes of a frame, and of all such frames in a second. */
export const snapshotChunkBytes = 256 * 1024
export const snapshotBytesPerSecond = 64 * MiB
/** In election timeouts: when an offer that nobody answered is repeated, and when a transfer that does not move has failed. */
export const snapshotOfferTimeouts = 2
export const snapshotFailTimeouts = 10

/** Peers that are dialled. */
export const learnedPeersMax = 256

/** A status is pushed at most this often while something changes, this often when the log gets on, and this often for its counters. */
export const statusIntervalMs = 50
export const statusMovedMs = 250
export const statusRefreshMs = 1000

/** Synced writes whose duration is kept, the newest; and for how long one counts: as long as gossip lets a report stand. */
export const syncTimesMax = 1024
export const syncWindowMs = 5000

/** The free space of the disk is asked for this often, and at once when a quarter of the reserve may have been written since. */
export const freeSpaceIntervalMs = 1000
/** A disk that was full takes entries again when this much more than the reserve is free, of the reserve. */
export const freeSpaceSlack = 0.25
/** Of the reserve: what a full follower still takes of entries, so that what was under way is agreed on; and what stays free of those. */
export const spareShare = 0.25
export const untouchedShare = 0.5

/** Log and snapshot are read once more in so long: 1 % a minute. */
export const scrubRoundMs = 100 * 60_000
/** How long a scrub lets writes that wait go first, before it looks again; and rests at least between two slices. */
export const scrubRestMs = 1000
/** How often the same entries are written once more before a round was clean: what held them may take a while to go. */
export const mendsMax = 10
/** Entries that are written once more together when one of them is damaged. */
export const mendedEntriesMax = 256

/** Raft's heartbeat is two ticks. */
export const heartbeatTicks = 2
/** While the cluster has not formed, what may be lost is said again after so many ticks. */
export const formingTicks = 10

/** Between the threads: proposals that were handed in and have not reached the loop. */
export const portProposalsMax = 8192
export const portBytesMax = 64 * MiB
/** What the main thread has applied is told after so many entries, or so many ms. */
export const appliedLagMax = 1024
export const appliedLagMs = 20
/** What the thread has taken in is told with what else there is to tell, or after so many proposals or bytes. */
export const takenProposalsMax = 1024
export const takenBytesMax = 4 * MiB
/** What was committed and nobody here waits for is told after so long, or so many entries. */
export const committedHoldMs = 10
export const heldEntriesMax = 1024
/** Reads that were asked for and not answered. */
export const portReadsMax = 8192
/** A leader that stops waits for another to lead: this part of the election timeout, and no longer than this. */
export const handoverShare = 0.5
export const handoverMsMax = 2000
/** A thread that has not ended by itself by then is terminated. */
export const stopDeadlineMs = 5000
