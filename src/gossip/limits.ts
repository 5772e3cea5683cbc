/** The limits of gossip, in one place: what is kept, and what one message may hold. Bytes as `messageBytes` counts them. */

/** Members that are known at once, the dead and left included. Beyond it nobody new is admitted until someone is reaped. */
export const membersMax = 1024
/** Reaped processes whose return by hearsay is still refused; the one reaped longest ago falls out first. */
export const gravesMax = 4096
/** Addresses to start from. */
export const contactsMax = 256
/** Pings on behalf of others that are open at once; more are not taken on. */
export const relaysMax = 128
/** Claims on the back of one message. */
export const claimsBytesMax = 1400
/** Members in one message of an exchange, from a random place on. */
export const exchangeBytesMax = 32 * 1024
/** Owners in one digest, from a random place on. */
export const digestBytesMax = 16 * 1024
/** Values of the class `state` in one message, and of one owner (tombstones included): an owner's always fit whole. */
export const stateBytesMax = 16 * 1024
export const stateOwnerBytesMax = 8 * 1024
export const stateKeysMax = 128
/** Gauges in one message, and of one owner. They have a budget of their own, so they never crowd out state. */
export const gaugeBytesMax = 8 * 1024
export const gaugeOwnerBytesMax = 8 * 1024 - 256
export const gaugeKeysMax = 256
/** `HOST:PORT` with the longest name that DNS allows. */
export const addressBytesMax = 262
export const keyBytesMax = 128
export const stateValueBytesMax = 1024
/** No message is longer. */
export const messageBytesMax = 48 * 1024
/** Incarnations and versions stay far from where numbers lose their units. */
export const counterMax = 2 ** 48
