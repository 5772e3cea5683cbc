import type { SessionId } from '../vocabulary/ids.ts'
import { isObject } from '../std/is-object.ts'
import { editJson, jsonElements, jsonMembers, sliceJson, type JsonText } from '../std/json-text.ts'
import { edited, parseObject, paramOf, paramRange, type ServerNotification } from './json-rpc.ts'
import type { AnsweredCall } from './requests.ts'

/**
 * Whose the tasks of one connection are: what a server tells of a task after the call that began it has been answered
 * goes to the session of that call, with its own progress token; no other learns of it that knows or guesses its id.
 */
export class TaskOwners {
  /** Beyond, the oldest is forgotten: its session has to ask for the status itself. */
  readonly #tasksMax: number
  readonly #byTask = new Map<string, Owner>()
  readonly #byRequest = new Map<number, Owner>()

  constructor(tasksMax: number) {
    this.#tasksMax = tasksMax
  }

  /** Remembers the task that the call has begun, if it did. */
  answered({ id, party, token, result }: AnsweredCall): void {
    if (party.origin === null) return
    const task = parseObject(result)?.['task']
    if (!isObject(task) || typeof task['taskId'] !== 'string') return
    const owner: Owner = { session: party.origin.session, taskId: task['taskId'], requestId: id, token }
    const before = this.#byTask.get(owner.taskId)
    if (before !== undefined) this.#forget(before)
    this.#byTask.set(owner.taskId, owner)
    this.#byRequest.set(id, owner)
    const [oldest] = this.#byTask.values()
    if (oldest !== undefined && this.#byTask.size > this.#tasksMax) this.#forget(oldest)
  }

  /** Of `notifications/progress` that belongs to no request under way. */
  progress(notification: ServerNotification): { readonly session: SessionId; readonly message: JsonText } | null {
    const range = paramRange(notification, 'progressToken')
    const owner = range === undefined ? undefined : this.#byRequest.get(Number(sliceJson(notification.text, range)))
    if (range === undefined || owner === undefined || owner.token === null) return null
    return { session: owner.session, message: edited(notification, [{ ...range, text: owner.token }]) }
  }

  /** Of `notifications/tasks/status`. */
  sessionOf(notification: ServerNotification): SessionId | null {
    const taskId = paramOf(notification, 'taskId')
    return typeof taskId === 'string' ? (this.#byTask.get(taskId)?.session ?? null) : null
  }

  /** It is known to be another session's. */
  isForeign(taskId: unknown, session: SessionId): boolean {
    const owner = typeof taskId === 'string' ? this.#byTask.get(taskId) : undefined
    return owner !== undefined && owner.session !== session
  }

  /** A result of `tasks/list` without those. */
  withoutForeign(result: JsonText, session: SessionId): JsonText {
    const tasks = parseObject(result)?.['tasks']
    const range = jsonMembers(result).get('tasks')
    if (!Array.isArray(tasks) || range === undefined) return result
    const isForeign = (task: unknown): boolean => isObject(task) && this.isForeign(task['taskId'], session)
    if (!tasks.some(isForeign)) return result
    const elements = jsonElements(result, range.start)
    const own = elements.filter((_, at) => !isForeign(tasks[at])).map((element) => sliceJson(result, element))
    return editJson(result, [{ ...range, text: `[${own.join(',')}]` }])
  }

  sessionsEnded(ended: ReadonlySet<SessionId>): void {
    for (const owner of this.#byTask.values()) if (ended.has(owner.session)) this.#forget(owner)
  }

  #forget(owner: Owner): void {
    this.#byTask.delete(owner.taskId)
    this.#byRequest.delete(owner.requestId)
  }
}

type Owner = {
  readonly session: SessionId
  readonly taskId: string
  /** The id of the call that began it, which is its progress token upstream. */
  readonly requestId: number
  readonly token: JsonText | null
}
