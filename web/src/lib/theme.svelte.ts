// The theme: light, dark, or that of the system.
import type { IconName } from './ui/Icon.svelte'

export type Theme = 'system' | 'light' | 'dark'
export const themes: { id: Theme; icon: IconName }[] = [
  { id: 'system', icon: 'system' },
  { id: 'light', icon: 'sun' },
  { id: 'dark', icon: 'moon' },
]

const key = 'pbx.theme'

class ThemeState {
  choice = $state<Theme>('system')

  start(): void {
    const set = document.documentElement.dataset.theme
    this.choice = set === 'light' || set === 'dark' ? set : 'system'
  }

  use(choice: Theme): void {
    this.choice = choice
    if (choice === 'system') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = choice
    try {
      if (choice === 'system') localStorage.removeItem(key)
      else localStorage.setItem(key, choice)
    } catch {
      // it holds until the page is closed
    }
  }
}

export const theme = new ThemeState()
