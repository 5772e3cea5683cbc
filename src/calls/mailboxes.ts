import type { Clock, Timer } from '../std/clock.ts'
import type { JsonText } from '../std/json-text.ts'
import type { ServerName, SessionId } from '../vocabulary/ids.ts'
import type { Mail, MailPosition } from './call.ts'

/**
 * What the servers on this node say to sessions outside of any call, a box for each session: kept, bounded, until its client
 * is known to have it, or for a while. A box has one reading at a time, and the latest one that a client began is it. Each
 * mail is handed to a reading once, in order; whoever opens the box at a position misses nothing behind it that is still kept.
 */
export class Mailboxes {
  readonly #options: MailboxesOptions
  readonly #limits: MailLimits
  /** Of sessions that have mail or are read. */
  readonly #boxes = new Map<SessionId, Box>()
  /** All mail of all boxes, oldest first. */
  readonly #letters = new Set<Letter>()
  #bytes = 0
  #lost = 0
  /** No box that is gone went beyond it: a new one goes on behind, so that a position never means another mail. */
  #lastSeq = 0
  #expiry: Timer | null = null

  constructor(options: MailboxesOptions) {
    this.#options = options
    this.#limits = { ...mailDefaults, ...options.limits }
  }

  /** Gauges, but `lost`: mail that nobody had read when it expired or had to make room. */
  get counters(): MailCounters {
    return { boxes: this.#boxes.size, mails: this.#letters.size, bytes: this.#bytes, lost: this.#lost }
  }

  put(session: SessionId, { server, message }: { readonly server: ServerName; readonly message: JsonText }): void {
    const box = this.#boxOf(session)
    box.lastSeq += 1
    const bytes = message.length + mailBytes
    const putAtMs = this.#options.clock.monotonic()
    const letter: Letter = { box, mail: { seq: box.lastSeq, server, message }, bytes, putAtMs }
    box.letters.push(letter)
    box.bytes += bytes
    this.#letters.add(letter)
    this.#bytes += bytes
    this.#hand(box, letter.mail)
    this.#keepWithinLimits(box)
    this.#expireLater()
  }

  /** Closing what is displaced or closed does nothing. */
  open(opening: MailOpening, reader: BoxReader): CloseBox {
    const box = this.#boxOf(opening.session)
    if (box.reader !== null && opening.isAgain) {
      reader.displaced()
      return () => undefined
    }
    const before = box.reader
    box.reader = reader
    before?.displaced()
    const from = this.#startOf(box, opening)
    reader.at({ epoch: this.#options.epoch, seq: from })
    for (const { mail } of box.letters.filter((letter) => letter.mail.seq > from)) {
      if (box.reader !== reader) break
      this.#hand(box, mail)
    }
    return (arrived) => {
      if (box.reader !== reader) return
      box.reader = null
      // What was handed out and was still on its way has been read by nobody.
      if (arrived !== undefined) box.readSeq = Math.min(box.readSeq, arrived)
      this.#closeIfEmpty(box)
    }
  }

  sessionsEnded(ids: readonly SessionId[]): void {
    for (const id of ids) {
      const box = this.#boxes.get(id)
      if (box === undefined) continue
      box.reader = null
      this.#dropUpTo(box, box.lastSeq)
      this.#closeIfEmpty(box)
    }
  }

  stop(): void {
    this.#expiry?.cancel()
    this.#expiry = null
    this.#boxes.clear()
    this.#letters.clear()
    this.#bytes = 0
  }

  /** What the client is known to have is kept no more; a reading that goes on only knows what came to it. */
  #startOf(box: Box, { position, isFresh, isAgain }: MailOpening): number {
    if (position === null) {
      if (isFresh) box.freshSeq = box.readSeq
      return box.freshSeq
    }
    const oldest = box.letters[0]?.mail.seq ?? box.lastSeq + 1
    if (position.epoch !== this.#options.epoch) return oldest - 1
    const from = Math.min(position.seq, box.lastSeq)
    box.readSeq = Math.max(box.readSeq, from)
    if (!isAgain) this.#dropUpTo(box, from)
    return from
  }

  #hand(box: Box, mail: Mail): void {
    if (box.reader === null) return
    if (box.reader.mail(mail)) box.readSeq = Math.max(box.readSeq, mail.seq)
    else box.reader = null
  }

  /** One mail alone may be as long as it is: it waits for an answer perhaps. */
  #keepWithinLimits(box: Box): void {
    const { boxMailsMax, boxBytesMax, bytesMax } = this.#limits
    while (box.letters.length > boxMailsMax || (box.bytes > boxBytesMax && box.letters.length > 1)) {
      const [oldest] = box.letters
      if (oldest === undefined) break
      this.#lose(oldest)
    }
    for (const oldest of this.#letters) {
      if (this.#bytes <= bytesMax) break
      this.#lose(oldest)
    }
  }

  #lose(letter: Letter): void {
    if (letter.mail.seq > letter.box.readSeq) this.#lost += 1
    this.#drop(letter)
    this.#closeIfEmpty(letter.box)
  }

  #dropUpTo(box: Box, seq: number): void {
    for (let [oldest] = box.letters; oldest !== undefined && oldest.mail.seq <= seq; [oldest] = box.letters)
      this.#drop(oldest)
  }

  /** Of one box the oldest only. */
  #drop(letter: Letter): void {
    letter.box.letters.shift()
    letter.box.bytes -= letter.bytes
    this.#letters.delete(letter)
    this.#bytes -= letter.bytes
  }

  #boxOf(session: SessionId): Box {
    const known = this.#boxes.get(session)
    if (known !== undefined) return known
    const lastSeq = this.#lastSeq
    const box: Box = { session, letters: [], bytes: 0, lastSeq, readSeq: lastSeq, freshSeq: lastSeq, reader: null }
    this.#boxes.set(session, box)
    return box
  }

  #closeIfEmpty(box: Box): void {
    if (box.reader !== null || box.letters.length > 0 || this.#boxes.get(box.session) !== box) return
    this.#boxes.delete(box.session)
    this.#lastSeq = Math.max(this.#lastSeq, box.lastSeq)
  }

  /** One timer for all, for the mail that is due first. */
  #expireLater(): void {
    const [oldest] = this.#letters
    if (this.#expiry !== null || oldest === undefined) return
    const { clock } = this.#options
    const leftMs = oldest.putAtMs + this.#limits.keptMs - clock.monotonic()
    this.#expiry = clock.after(Math.max(expiryStepMs, leftMs), () => {
      this.#expiry = null
      for (const letter of this.#letters) {
        if (letter.putAtMs + this.#limits.keptMs > clock.monotonic()) break
        this.#lose(letter)
      }
      this.#expireLater()
    })
  }
}

export type MailOpening = {
  readonly session: SessionId
  /** Null: the client was not told one yet. */
  readonly position: MailPosition | null
  /**
   * Without a position: the client begins anew, with what nobody has read yet. Else it has got nothing of this box since it
   * began anew, whatever was handed to its streams.
   */
  readonly isFresh: boolean
  /** A reading that was open goes on after its link was away: one that has begun since stays, and this one is displaced. */
  readonly isAgain: boolean
}

/** `arrived`: up to which mail it has come to the reading, when not all that was handed out has. */
export type CloseBox = (arrived?: number) => void

/** Whoever reads a box, on this node or over a link. */
export type BoxReader = {
  /** From where on mail comes, before the first. */
  at(position: MailPosition): void
  /** False: it can take no more now. It is forgotten then, and opens again. */
  mail(mail: Mail): boolean
  /** Another reading has the box now. */
  displaced(): void
}

export type MailboxesOptions = {
  /** This life of the process: its generation. */
  readonly epoch: number
  readonly clock: Pick<Clock, 'monotonic' | 'after'>
  readonly limits?: Partial<MailLimits>
}

export type MailLimits = {
  /** Of one session; beyond, its oldest mail is lost. */
  readonly boxMailsMax: number
  readonly boxBytesMax: number
  /** Of all sessions; beyond, the oldest of all is lost. */
  readonly bytesMax: number
  /** Mail is kept so long, read or not. */
  readonly keptMs: number
}

const MiB = 1024 * 1024

export const mailDefaults: MailLimits = {
  boxMailsMax: 256,
  boxBytesMax: 1 * MiB,
  bytesMax: 64 * MiB,
  keptMs: 300_000,
}

export type MailCounters = {
  readonly boxes: number
  readonly mails: number
  readonly bytes: number
  readonly lost: number
}

type Box = {
  readonly session: SessionId
  /** By seq, without a gap. */
  readonly letters: Letter[]
  bytes: number
  /** Of the newest mail. */
  lastSeq: number
  /** Up to it all has been handed to a reading. */
  readSeq: number
  /** Where the client began anew. */
  freshSeq: number
  reader: BoxReader | null
}

type Letter = { readonly box: Box; readonly mail: Mail; readonly bytes: number; readonly putAtMs: number }

/** What a mail costs beside its text, roughly. */
const mailBytes = 200
/** What expires within it expires together. */
const expiryStepMs = 1000
