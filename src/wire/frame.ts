import { crc32 } from '../std/hash.ts'

/**
 * The outer shape of everything that nodes send each other, one frame a WebSocket message: magic, frame version, type,
 * flags, sequence number, checksum, payload. The checksum covers the header too, so that a damaged type is not taken for
 * another. It is against damage and software errors; adversaries are the handshake's matter.
 */
export type Frame = {
  readonly type: number
  /** Counts up by one from 0 in each direction of a connection, modulo 2^32. */
  readonly seq: number
  /** A view of the received bytes. */
  readonly payload: Uint8Array
}

/** What stands in the way of reading foreign bytes; for the log, never shown to clients. */
export type Malformed = { readonly malformed: string }

export const frameHeaderBytes = 12
const magic = 0x51
const frameVersion = 1

export function encodeFrame(frame: Frame): Uint8Array {
  const bytes = Buffer.allocUnsafe(frameHeaderBytes + frame.payload.length)
  bytes[0] = magic
  bytes[1] = frameVersion
  bytes[2] = frame.type
  bytes[3] = 0
  bytes.writeUInt32BE(frame.seq, 4)
  bytes.set(frame.payload, frameHeaderBytes)
  bytes.writeUInt32BE(checksum(bytes), 8)
  return bytes
}

export function decodeFrame(bytes: Uint8Array): Frame | Malformed {
  if (bytes.length < frameHeaderBytes) return { malformed: `frame of ${bytes.length} bytes is cut` }
  const view = new DataView(bytes.buffer, bytes.byteOffset, frameHeaderBytes)
  if (view.getUint8(0) !== magic) return { malformed: 'frame does not begin with the magic byte' }
  if (view.getUint8(1) !== frameVersion) return { malformed: `frame version ${view.getUint8(1)} is unknown` }
  if (view.getUint8(3) !== 0) return { malformed: `frame flags ${view.getUint8(3)} are unknown` }
  if (view.getUint32(8) !== checksum(bytes)) return { malformed: 'frame checksum differs' }
  return { type: view.getUint8(2), seq: view.getUint32(4), payload: bytes.subarray(frameHeaderBytes) }
}

export function nextSeq(seq: number): number {
  return (seq + 1) >>> 0
}

function checksum(bytes: Uint8Array): number {
  return crc32(bytes.subarray(frameHeaderBytes), crc32(bytes.subarray(0, 8)))
}
