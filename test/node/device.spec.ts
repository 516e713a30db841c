import assert from 'node:assert/strict'
import { chooseDevice, DEVICES } from '../../node/device.js'

describe('chooseDevice', () => {
  it('takes the CPU as it is', async () => {
    assert.deepEqual(await chooseDevice('cpu'), { device: 'cpu' })
  })

  for (const wanted of DEVICES.filter(name => name !== 'cpu')) {
    it(`gives ${wanted}, or the CPU and a sentence that says why`, async () => {
      const { device, problem } = await chooseDevice(wanted)
      if (device === wanted) {
        assert.equal(problem, undefined)
      } else {
        assert.equal(device, 'cpu')
        assert.match(problem!, new RegExp(`${wanted}.* CPU`))
        assert.match(problem!, /\.$/)
      }
    })
  }

  it('knows that CoreML is not for Linux', async function () {
    if (process.platform !== 'linux') this.skip()
    assert.match((await chooseDevice('coreml')).problem!, /has no coreml on linux/)
  })
})
