/**
 * When a tool or prompt has its server's name before its own, as `{server}__{name}`, where several servers stand on one URL:
 * always; where two of them have the same name; never, and then one of the two is shown.
 */
export const namings = ['always', 'conditional', 'never'] as const
export type Naming = (typeof namings)[number]
