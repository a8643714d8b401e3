// Client of the portal's public API. The types are generated from the contract.
import createClient from 'openapi-fetch'
import { connection } from './connection.svelte'
import type { components, paths } from './api/schema.gen'
import { t } from './i18n/index.svelte'

type Schemas = components['schemas']
// User is a user as lists show it. One that was just created has no name for phones yet.
type Listed = Schemas['User']
export type User = Pick<Listed, 'id' | 'name' | 'email' | 'created_at'> & { enabled: boolean; extension: Pick<Listed['extension'], 'number' | 'secret'> & { caller_name?: string } }
export type UserV1 = Schemas['UserV1']
export type Device = Schemas['Device']
export type Plan = Schemas['Plan']
export type Change = Schemas['Change']
export type FileDiff = Schemas['FileDiff']
export type Run = Schemas['Run']
export type RunEvent = Schemas['Event']
export type RevisionSummary = Schemas['RevisionSummary']
export type Health = Schemas['Health']
export type Session = Schemas['Session']
export type RestoredUsers = Schemas['RestoredUsers']
export type Account = Schemas['Account']
export type Token = Schemas['Token']
export type Role = Schemas['Role']
export type Permission = Schemas['Permission']
export type OneTimeLink = Schemas['OneTimeLink']
export type AuditEvent = Schemas['AuditEvent']
export type ApplyActor = NonNullable<Schemas['ApplyActor']>
export type Live = Schemas['Live']
export type Changed = Schemas['LiveChanged']
export type Registration = Schemas['LiveRegistration']
export type LiveCall = Schemas['LiveCall']
export type LiveSwitches = Schemas['LiveSwitches']
export type Switches = Schemas['Switches']
export type Organisation = Schemas['Organisation']
export type OrganisationPatch = Schemas['OrganisationPatch']
export type Consequences = Schemas['Consequences']
export type Pool = Schemas['Pool']
export type PoolPatch = Schemas['PoolPatch']
export type RingGroup = Schemas['RingGroup']
export type Simulation = Schemas['Simulation']
export type Use = Schemas['Use']
// Portals older than field codes send none.
export type FieldFault = Omit<Schemas['FieldError'], 'code'> & { code?: string }

export const api = createClient<paths>({ baseUrl: '', credentials: 'same-origin' })

// Holder is what the client knows of the session, and reports to it: session.svelte.ts, which uses this module, provides it.
type Holder = { person: string; lacksFactor: boolean; ended: () => void; replaced: () => void; refresh: () => Promise<void> }
let session: Holder | undefined
export const heldBy = (holder: Holder): void => void (session = holder)

// asPerson returns the header that names the account this page shows as signed in. All tabs of a browser share one session, and another user
// may have signed in in another tab: the portal rejects requests meant for a different account.
export const asPerson = (id = session?.person ?? ''): Record<string, string> => (id ? { 'Expected-Account': id } : {})

// newKey returns an idempotency key: a request that is sent again with it is not carried out twice.
export const newKey = (): string => crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`

api.use({
  onRequest: ({ request }) => {
    for (const [name, value] of Object.entries(asPerson())) request.headers.set(name, value)
    return undefined
  },
})

// Fault is an error of a request; `code` is one of the contract's, or `offline`.
export class Fault extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly fields: FieldFault[] = [],
    readonly requestID = '',
    readonly retryAfter = 0,
    readonly uses: Use[] = [], // what refers to the thing in question
  ) {
    super(detail)
  }

  // field returns the error of a field, '' if there is none.
  field(name: string): string {
    const found = this.fields.find((f) => f.field === name)
    return found ? said(found) : ''
  }

  // known is the reason in the language of the page; '' if only the portal has a text.
  get known(): string {
    if (this.code === 'offline') return t.fault.offline
    if (this.status === 429) return t.fault.busy(this.retryAfter || 60)
    if (this.uses.length) return t.fault.neededBy([...new Set(this.uses.map((u) => `${t.apply.thing[u.kind] ?? u.kind} ${u.name}`))].join(', '))
    return t.fault.codes[this.code] ?? (this.status === 403 ? t.fault.forbidden : '')
  }

  get text(): string {
    return this.known || this.detail
  }

  // more is the portal's text, if it adds to that of the page: a path, a line, an answer of Asterisk.
  get more(): string {
    return this.known && telling.has(this.code) ? this.detail : ''
  }
}

const telling = new Set(['drift', 'apply_refused', 'write_failed', 'reload_failed', 'asterisk_disagrees', 'rolled_back', 'in_doubt', 'audit_failed', 'database_newer', 'host_not_allowed', 'email_taken'])

// circleIn returns what a call in a circle would come to, as the message of the portal names it.
const circleIn = (message: string): string => /: ([^:]* → .*?)\. /.exec(message)?.[1] ?? message

export const said = (f: FieldFault): string => t.fault.fields[f.code ?? '']?.(f.least ?? 0, f.most ?? 0, circleIn(f.message)) ?? f.message

export const fault = (e: unknown): Fault => (e instanceof Fault ? e : new Fault(0, 'broken', String(e)))

type Answer<T> = { data?: T; error?: unknown; response: Response }
type Problem = { code?: string; detail?: string; request_id?: string; errors?: FieldFault[]; uses?: Use[] }

// Codes of status 401 that do not mean that the session has ended.
const signingIn = ['sign_in_failed', 'otp_required', 'otp_invalid', 'password_wrong']

// ask returns the data of an answer, or throws a Fault. It also updates the state of the
// connection and the session from the answer.
export async function ask<T>(request: Promise<Answer<T>>): Promise<T> {
  let answer: Answer<T>
  try {
    answer = await request
  } catch {
    connection.lost()
    throw new Fault(0, 'offline', '')
  }
  connection.alive()
  const { response } = answer
  if (response.ok) return answer.data as T
  const problem = (typeof answer.error === 'object' && answer.error !== null ? answer.error : {}) as Problem
  const code = problem.code ?? `http_${response.status}`
  if (code === 'other_account') session?.replaced()
  else if (response.status === 401 && !signingIn.includes(code)) session?.ended()
  if (code === 'second_factor_needed' && session && !session.lacksFactor) session.refresh().catch(() => undefined) // the portal was started with another rule
  if (code === 'database_unavailable') connection.without()
  throw new Fault(
    response.status,
    code,
    problem.detail ?? response.statusText,
    problem.errors ?? [],
    problem.request_id ?? response.headers.get('X-Request-Id') ?? '',
    Number(response.headers.get('Retry-After') ?? 0),
    problem.uses ?? [],
  )
}
