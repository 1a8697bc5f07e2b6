import { expertSizes, planCase } from "./expertCases.ts";

export default expertSizes.map(planCase);
