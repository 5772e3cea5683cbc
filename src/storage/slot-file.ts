import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import type { SlotFile } from './records.ts'
import { syncFolder } from './sync-folder.ts'

/** A small file that is written in place. */
export class DiskSlotFile implements SlotFile {
  readonly #path: string
  #file: FileHandle | null = null
  /** A process before may have made the file, and not come to that. */
  #isFolderSynced = false

  constructor(filePath: string) {
    this.#path = filePath
  }

  async read(): Promise<Uint8Array | null> {
    let file: FileHandle
    try {
      file = await open(this.#path, 'r')
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
    try {
      return await file.readFile()
    } finally {
      await file.close()
    }
  }

  async write(bytes: Uint8Array, at: number): Promise<void> {
    this.#file ??= await this.#openToWrite()
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, at + done)
      done += bytesWritten
    }
  }

  async sync(): Promise<void> {
    this.#file ??= await this.#openToWrite()
    await this.#file.datasync()
    if (this.#isFolderSynced) return
    await syncFolder(path.dirname(this.#path))
    this.#isFolderSynced = true
  }

  async close(): Promise<void> {
    const file = this.#file
    this.#file = null
    await file?.close()
  }

  async #openToWrite(): Promise<FileHandle> {
    try {
      return await open(this.#path, 'r+')
    } catch (error) {
      if (!isMissing(error)) throw error
      this.#isFolderSynced = false
      return open(this.#path, 'wx')
    }
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
