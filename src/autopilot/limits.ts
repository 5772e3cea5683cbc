/** Entries that a member may lack of what is committed and still be sound: some round trips under load. */
export const lagEntriesMax = 1000
/** Without another voter in its place, a dead one is removed only if so many voters remain. */
export const votersLeftMin = 3
/** A learner that has been dead for so long is taken out of the configuration: it costs little, and it may come back. */
export const deadLearnerMs = 24 * 3_600_000
/** Who has not looked for so long does not know what was meanwhile. */
export const blindMs = 10_000
