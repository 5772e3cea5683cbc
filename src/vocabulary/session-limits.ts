/** Limits of clients' sessions. The edges, the configuration, the commands and their codec hold the same. */

/** Sessions of the whole cluster; what is configured may be less. */
export const clientSessionsMax = 50_000
/** The client's own words in initialize, `clientInfo` and `capabilities`, each. */
export const sessionTextBytesMax = 4096
/** Text of all sessions of the cluster, in UTF-16 units: a session more, or a subscription, is refused beyond. */
export const sessionsLengthMax = 128 * 1024 * 1024
/** Unused for so long, a session may be configured to end. */
export const sessionIdleMinMs = 1000
export const sessionIdleMaxMs = 7 * 24 * 60 * 60 * 1000
/** Of one session. */
export const subscriptionsMax = 256
/** In UTF-16 units. */
export const subscriptionUriLengthMax = 4096
/** Of one session. */
export const pinsMax = 256
/** Sessions that one command says are in use. */
export const touchesMax = 1000
