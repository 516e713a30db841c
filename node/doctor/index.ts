export { Doctor, type DoctorInit } from './doctor.js'
export type { Finding } from './finding.js'
