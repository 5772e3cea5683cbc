import type { MemberView } from '../admin/needs.ts'
import type { Config } from '../config/schema.ts'

/** What a node may use of its machine, as it says so by gossip: a value of its state for each amount that is configured. */
export function capacityState({ cpu, gpu, memory }: Config['node']['capacity']): ReadonlyMap<string, string> {
  const amounts: Readonly<Record<(typeof amountNames)[number], number | null>> = { cpu, gpu, memoryBytes: memory }
  return new Map(
    amountNames.flatMap((name) => {
      const amount = amounts[name]
      return amount === null ? [] : [[keyOf(name), String(amount)] as const]
    }),
  )
}

/** What a member said; null: nothing. What is no amount counts as not said. */
export function saidCapacity(state: ReadonlyMap<string, string>): MemberView['capacity'] {
  const said = (name: (typeof amountNames)[number]): number | null => {
    const text = state.get(keyOf(name)) ?? ''
    return /^\d{1,16}$/.test(text) ? Number(text) : null
  }
  const capacity = { cpu: said('cpu'), gpu: said('gpu'), memoryBytes: said('memoryBytes') }
  return amountNames.every((name) => capacity[name] === null) ? null : capacity
}

const amountNames = ['cpu', 'gpu', 'memoryBytes'] as const

function keyOf(name: (typeof amountNames)[number]): string {
  return `capacity.${name}`
}
