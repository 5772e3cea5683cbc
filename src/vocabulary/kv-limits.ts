/** Limits of the replicated key-value pairs, in bytes of UTF-8. The HTTP edge and the codec of commands hold the same. */
export const keyBytesMax = 1024
export const valueBytesMax = 1024 * 1024
