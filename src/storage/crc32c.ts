/** CRC-32C (Castagnoli) as LevelDB's files carry it: eight bytes a step, since whole files go through it. */

const polynomial = 0x82f63b78
const tables = makeTables()

/** Over `bytes[from, to)`. */
export function crc32c(bytes: Uint8Array, from: number, to: number): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables
  let crc = -1
  let at = from
  for (; at + 8 <= to; at += 8) {
    const low =
      crc ^ (byte(bytes, at) | (byte(bytes, at + 1) << 8) | (byte(bytes, at + 2) << 16) | (byte(bytes, at + 3) << 24))
    crc =
      item(t7, low & 255) ^
      item(t6, (low >>> 8) & 255) ^
      item(t5, (low >>> 16) & 255) ^
      item(t4, low >>> 24) ^
      item(t3, byte(bytes, at + 4)) ^
      item(t2, byte(bytes, at + 5)) ^
      item(t1, byte(bytes, at + 6)) ^
      item(t0, byte(bytes, at + 7))
  }
  for (; at < to; at += 1) crc = item(t0, (crc ^ byte(bytes, at)) & 255) ^ (crc >>> 8)
  return ~crc >>> 0
}

/** LevelDB stores a checksum turned, so that one of bytes that hold checksums is not weak. */
export function unmask(stored: number): number {
  const turned = (stored - 0xa282ead8) >>> 0
  return ((turned >>> 17) | (turned << 15)) >>> 0
}

function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0
}

function item(table: Int32Array, at: number): number {
  return table[at] ?? 0
}

type Table = Int32Array
function makeTables(): [Table, Table, Table, Table, Table, Table, Table, Table] {
  const first = new Int32Array(256)
  for (let n = 0; n < 256; n += 1) {
    let crc = n
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    first[n] = crc
  }
  const next = (table: Table): Table => table.map((value) => item(first, value & 255) ^ (value >>> 8))
  const second = next(first)
  const third = next(second)
  const fourth = next(third)
  const fifth = next(fourth)
  const sixth = next(fifth)
  const seventh = next(sixth)
  return [first, second, third, fourth, fifth, sixth, seventh, next(seventh)]
}
