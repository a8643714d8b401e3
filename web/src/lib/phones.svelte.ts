// Where phones reach Asterisk. The portal does not know from which side people come, so it proposes the name it was opened by, and
// remembers in this browser what somebody put in its place.
const key = 'pbx.sip-server'

class Phones {
  server = $state('')

  constructor() {
    let kept: string | null = null
    try {
      kept = localStorage.getItem(key)
    } catch {
      // no storage, no memory
    }
    this.server = kept ?? location.hostname
  }

  keep(server: string): void {
    this.server = server.trim() || location.hostname
    try {
      localStorage.setItem(key, this.server)
    } catch {
      // it holds until the page is closed
    }
  }
}

export const phones = new Phones()

// uri is the address of a user with the secret in it, as RFC 3261 writes it and phones that scan read it.
export const uri = (number: number, secret: string, server: string): string => `sip:${number}:${secret}@${server}`
