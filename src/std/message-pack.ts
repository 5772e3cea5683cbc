/**
 * Foreign MessagePack, read in one pass that knows only what we write (null, booleans, numbers, strings, bytes, arrays): no
 * maps, records or extensions, alike on every platform, and nothing is allocated on the word of a length field. Bytes that
 * are no UTF-8 become replacement characters.
 */
export function unpackArray(
  bytes: Uint8Array,
  limits: UnpackLimits,
): { readonly values: readonly unknown[] } | { readonly flaw: string } {
  const reader = new Reader(bytes, limits.valuesMax)
  const value = reader.value(limits.depthMax)
  if (reader.flaw !== null) return { flaw: reader.flaw }
  if (!reader.isAtEnd) return { flaw: 'is followed by more bytes' }
  return Array.isArray(value) ? { values: value } : { flaw: 'is no array' }
}

export type UnpackLimits = {
  /** Levels of arrays. */
  readonly depthMax: number
  /** All levels together: what an array of nothing costs in memory is many times its bytes. */
  readonly valuesMax: number
}

/** Bytes. */
const shortText = 16

/** Reads until the first flaw; what it returned is of use only when there is none. */
class Reader {
  flaw: string | null = null
  readonly #bytes: Buffer
  #at = 0
  readonly #valuesMax: number
  #values = 0

  constructor(bytes: Uint8Array, valuesMax: number) {
    this.#valuesMax = valuesMax
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length
  }

  /** `depth`: levels of arrays that may still open. */
  value(depth: number): unknown {
    if (!this.#has(1)) return this.#fail('is cut')
    if ((this.#values += 1) > this.#valuesMax) return this.#fail('holds too many values')
    const token = this.#number(1)
    if (token <= 0x7f) return token
    if (token >= 0xe0) return token - 0x100
    if (token >= 0xa0 && token <= 0xbf) return this.#text(token & 0x1f)
    if (token >= 0x90 && token <= 0x9f) return this.#array(token & 0x0f, depth)
    const width = widthBehind(token)
    if (width === -1) return this.#fail(`holds the token ${token}, which is never written`)
    if (!this.#has(width)) return this.#fail('is cut')
    switch (token) {
      case 0xc0:
        return null
      case 0xc2:
        return false
      case 0xc3:
        return true
      case 0xcb:
        this.#at += 8
        return this.#bytes.readDoubleBE(this.#at - 8)
      case 0xcc: // uint 8, 16, 32
      case 0xcd:
      case 0xce:
        return this.#number(width)
      case 0xd0: // int 8, 16, 32
      case 0xd1:
      case 0xd2:
        this.#at += width
        return this.#bytes.readIntBE(this.#at - width, width)
      case 0xc4: // bin 8, 16, 32
      case 0xc5:
      case 0xc6:
        return this.#view(this.#number(width))
      case 0xd9: // str 8, 16, 32
      case 0xda:
      case 0xdb:
        return this.#text(this.#number(width))
      default: // array 16, 32
        return this.#array(this.#number(width), depth)
    }
  }

  #array(length: number, depth: number): unknown {
    // Each value is one byte at least.
    if (!this.#has(length)) return this.#fail('declares more than it holds')
    if (depth === 0) return this.#fail('is nested too deep')
    if (length > this.#valuesMax - this.#values) return this.#fail('holds too many values')
    // oxlint-disable-next-line unicorn/no-new-array -- the length, so that it is allocated once
    const values = new Array<unknown>(length)
    for (let at = 0; at < length && this.flaw === null; at += 1) values[at] = this.value(depth - 1)
    return values
  }

  #text(length: number): unknown {
    if (!this.#has(length)) return this.#fail('declares more than it holds')
    const end = this.#at + length
    return length < shortText ? this.#ascii(end) : this.#utf8(end)
  }

  /** The call into the platform costs more than a few characters do. */
  #ascii(end: number): string {
    let text = ''
    for (let at = this.#at; at < end; at += 1) {
      const unit = this.#bytes[at] ?? 0
      if (unit > 0x7f) return this.#utf8(end)
      text += String.fromCharCode(unit)
    }
    this.#at = end
    return text
  }

  #utf8(end: number): string {
    const text = this.#bytes.toString('utf8', this.#at, end)
    this.#at = end
    return text
  }

  #view(length: number): unknown {
    if (!this.#has(length)) return this.#fail('declares more than it holds')
    const { buffer, byteOffset } = this.#bytes
    this.#at += length
    return new Uint8Array(buffer, byteOffset + this.#at - length, length)
  }

  /** Unsigned and big-endian; whoever asks has looked that it is there. */
  #number(width: number): number {
    let number = 0
    for (const end = this.#at + width; this.#at < end; this.#at += 1)
      number = number * 256 + (this.#bytes[this.#at] ?? 0)
    return number
  }

  #has(length: number): boolean {
    return length <= this.#bytes.length - this.#at
  }

  #fail(flaw: string): undefined {
    this.flaw ??= flaw
    return undefined
  }
}

/** Bytes of the number behind a token of two bytes and more, be it a value or a length; -1 for what we never write. */
function widthBehind(token: number): number {
  switch (token) {
    case 0xc0: // nil
    case 0xc2: // false
    case 0xc3: // true
      return 0
    case 0xc4:
    case 0xcc:
    case 0xd0:
    case 0xd9:
      return 1
    case 0xc5:
    case 0xcd:
    case 0xd1:
    case 0xda:
    case 0xdc:
      return 2
    case 0xc6:
    case 0xce:
    case 0xd2:
    case 0xdb:
    case 0xdd:
      return 4
    case 0xcb: // float 64
      return 8
    default:
      return -1
  }
}
