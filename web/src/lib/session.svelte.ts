// The session: who is signed in, with which permissions. If it ends, the page stays as it is and asks to sign in
// again, so that no input is lost.
import { api, ask, fault, heldBy, type Permission, type Session } from './api'

export type Gate = 'starting' | 'setup' | 'signed_out' | 'signed_in' | 'unreachable' | 'replaced'

class SessionState {
  gate = $state<Gate>('starting')
  current = $state.raw<Session | null>(null)
  lapsed = $state(false) // the session has ended on the server
  oidc = $state(false)
  owes = $state(false) // the sign-in service authenticated the user, but the account's own second factor is still missing
  renewals = $state(0)
  persons = $state(0) // number of times that the data of a user was dropped
  #known = '' // the account whose data the page holds
  #drops: ((person: string) => void)[] = []

  // person is the id of the account shown as signed in, '' for none.
  get person(): string {
    return this.current?.account?.id ?? ''
  }

  // onDrop registers a function that drops the data of every account but one, '' for all.
  onDrop(drop: (person: string) => void): void {
    this.#drops.push(drop)
  }

  #drop(person: string): void {
    this.#known = person
    this.persons++
    for (const drop of this.#drops) drop(person)
  }

  async start(): Promise<void> {
    try {
      const setup = await ask(api.GET('/setup'))
      this.oidc = setup.oidc ?? false
      if (setup.needed) {
        this.gate = 'setup'
        return
      }
      this.enter(await ask(api.GET('/session')))
    } catch (e) {
      const f = fault(e)
      this.owes = f.code === 'otp_required'
      if (f.status === 401) this.gate = 'signed_out'
      else this.gate = 'unreachable'
    }
  }

  enter(session: Session): void {
    const person = session.account?.id ?? ''
    if (person !== this.#known) this.#drop(person)
    this.current = session
    this.gate = 'signed_in'
    this.lapsed = false
    this.owes = false
    this.renewals++
  }

  ended(): void {
    if (this.current) this.lapsed = true
  }

  // replaced is called when another user has signed in with this browser. It removes the previous user's data from the page.
  replaced(): void {
    this.forget()
    this.gate = 'replaced'
  }

  // refresh reloads the session after a change of the user's own account.
  async refresh(): Promise<void> {
    this.current = await ask(api.GET('/session'))
  }

  async leave(): Promise<void> {
    try {
      await ask(api.DELETE('/session'))
    } catch (e) {
      if (fault(e).status !== 401) throw e
    }
    this.forget()
  }

  forget(): void {
    this.current = null
    this.lapsed = false
    this.owes = false
    this.gate = 'signed_out'
    this.#drop('')
  }

  may(permission: Permission): boolean {
    return this.current?.permissions.includes(permission) ?? false
  }

  // lacksFactor reports that a second factor must be set up before anything else.
  get lacksFactor(): boolean {
    const account = this.current?.account
    return account ? account.totp_demanded && !account.totp_enabled : false
  }

  get name(): string {
    return this.current?.account?.name ?? this.current?.token?.name ?? ''
  }
}

export const session = new SessionState()
heldBy(session)
