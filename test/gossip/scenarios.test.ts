import path from 'node:path'
import { describeStories } from '../story.ts'
import { render } from './scenario.ts'

describeStories(path.join(import.meta.dirname, 'scenarios'), render)
