import { describe, expect, it } from 'vitest'
import { httpStatus } from '../../src/admin/http-status.ts'
import { errorCodes } from '../../src/vocabulary/operating-error.ts'

describe('the table of HTTP status', () => {
  it('has one for every error code and for nothing else', () => {
    expect(Object.keys(httpStatus).sort()).toEqual([...errorCodes].sort())
  })

  it('says 503 only of what provably was not begun', () => {
    expect(errorCodes.filter((code) => httpStatus[code] === 503).sort()).toEqual([
      'disk-full',
      'draining',
      'no-leader',
      'no-quorum',
      'overloaded',
      'stopped',
    ])
  })
})
