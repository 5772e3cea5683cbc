import { defineConfig } from 'vitest/config'

// Two projects: `core` runs test files side by side; `process` starts real processes and clusters, one file at a time,
// because the machine that runs it may have two cores only.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'core',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**', 'test/demo/**'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'process',
          include: ['test/e2e/**/*.test.ts', 'test/demo/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
})
