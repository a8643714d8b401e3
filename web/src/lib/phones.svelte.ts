// The address at which phones reach Asterisk. The portal does not know its public address, so it proposes the host name of the page, and
// stores a changed address in this browser.
const key = 'pbx.sip-server'

class Phones {
  server = $state('')

  constructor() {
    let kept: string | null = null
    try {
      kept = localStorage.getItem(key)
    } catch {
      // storage is unavailable
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

// uri returns the SIP URI of a phone with the secret (RFC 3261), for phones that scan it.
export const uri = (name: string, secret: string, server: string): string => `sip:${name}:${secret}@${server}`
