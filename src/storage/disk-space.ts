import { statfs } from 'node:fs/promises'

/** What a process may still write under the folder. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
