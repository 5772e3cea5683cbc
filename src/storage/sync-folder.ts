import { open } from 'node:fs/promises'

/** Makes durable which files a folder holds: a synced file in a folder that was not may be gone after a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
